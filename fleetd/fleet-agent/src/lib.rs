//! What a machine does to run the units it is to run: the plan (pure), the ledger of what it has
//! loaded, and the unit manager that does the work. It reads no store: whoever calls it says what is
//! wished.

mod hostos;
mod ledger;
mod manager;
mod plan;
mod systemd;

pub use hostos::HostosManager;
pub use ledger::{Ledger, LedgerError};
pub use manager::{ManagerError, UnitManager, UnitStatus};
pub use plan::{Loaded, Task, Wished, plan};
pub use systemd::SystemdManager;
