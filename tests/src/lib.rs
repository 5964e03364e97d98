//! System tests: each boots real machines and reads like the story it tells.
