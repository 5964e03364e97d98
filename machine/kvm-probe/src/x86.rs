//! One virtual processor in real mode, one loop, one stopwatch.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use libc::{c_int, c_ulong, c_void};
use nix::time::{ClockId, clock_gettime};

/// Times through the loop.
const TURNS: u32 = 300_000;
const MEMORY: usize = 64 * 1024;

const API_VERSION: c_int = 12;
const EXIT_IO: u32 = 2;

const fn request(direction: c_ulong, number: c_ulong, size: usize) -> c_ulong {
    direction << 30 | (size as c_ulong) << 16 | 0xAE << 8 | number
}

const GET_API_VERSION: c_ulong = request(0, 0x00, 0);
const CREATE_VM: c_ulong = request(0, 0x01, 0);
const GET_VCPU_MMAP_SIZE: c_ulong = request(0, 0x04, 0);
const CREATE_VCPU: c_ulong = request(0, 0x41, 0);
const SET_USER_MEMORY_REGION: c_ulong = request(1, 0x46, size_of::<MemoryRegion>());
const RUN: c_ulong = request(0, 0x80, 0);
const SET_REGS: c_ulong = request(1, 0x82, size_of::<Registers>());
const GET_SREGS: c_ulong = request(2, 0x83, size_of::<SpecialRegisters>());
const SET_SREGS: c_ulong = request(1, 0x84, size_of::<SpecialRegisters>());

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

/// `struct kvm_regs`: rax to r15, then rip and rflags.
#[repr(C)]
#[derive(Default)]
struct Registers {
    general: [u64; 16],
    rip: u64,
    rflags: u64,
}

/// `struct kvm_sregs`, of which only the code segment at its start is named here.
#[repr(C, align(8))]
struct SpecialRegisters {
    code_base: u64,
    code_limit: u32,
    code_selector: u16,
    rest: [u8; 298],
}

/// Runs the loop and returns the processor time it took, or why it could not run.
pub(crate) fn time_loop(device: &Path) -> Result<Duration, String> {
    let kvm = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|error| format!("could not open {}: {error}", device.display()))?;
    let version = call(&kvm, GET_API_VERSION, 0, "KVM_GET_API_VERSION")?;
    if version != API_VERSION {
        return Err(format!("KVM has API version {version}, not {API_VERSION}"));
    }
    let vm = fd(call(&kvm, CREATE_VM, 0, "KVM_CREATE_VM")?);
    let memory = Mapping::anonymous(MEMORY)?;
    memory.write(&program());
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: memory.address as u64,
    };
    call(&vm, SET_USER_MEMORY_REGION, &raw const region as c_ulong, "KVM_SET_USER_MEMORY_REGION")?;
    let processor = fd(call(&vm, CREATE_VCPU, 0, "KVM_CREATE_VCPU")?);
    let size = call(&kvm, GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE")?;
    let shared = Mapping::of(&processor, usize::try_from(size).unwrap_or(0))?;
    set_registers(&processor)?;
    let start = processor_time()?;
    call(&processor, RUN, 0, "KVM_RUN")?;
    match shared.exit_reason() {
        EXIT_IO => Ok(processor_time()?.saturating_sub(start)),
        other => Err(format!("the virtual processor stopped for reason {other}")),
    }
}

/// Real mode: count ecx down to 0, write to port 0x10, halt.
fn program() -> Vec<u8> {
    let mut code = vec![0x66, 0xB9];
    code.extend(TURNS.to_le_bytes());
    code.extend([0x66, 0x49, 0x75, 0xFC, 0xE6, 0x10, 0xF4]);
    code
}

fn set_registers(processor: &OwnedFd) -> Result<(), String> {
    let mut special = SpecialRegisters { code_base: 0, code_limit: 0, code_selector: 0, rest: [0; 298] };
    call(processor, GET_SREGS, &raw mut special as c_ulong, "KVM_GET_SREGS")?;
    special.code_base = 0;
    special.code_selector = 0;
    call(processor, SET_SREGS, &raw const special as c_ulong, "KVM_SET_SREGS")?;
    let registers = Registers { rflags: 2, ..Registers::default() };
    call(processor, SET_REGS, &raw const registers as c_ulong, "KVM_SET_REGS")?;
    Ok(())
}

fn processor_time() -> Result<Duration, String> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|error| format!("no clock for this thread: {error}"))
}

fn call(file: &impl AsRawFd, request: c_ulong, argument: c_ulong, name: &str) -> Result<c_int, String> {
    // SAFETY: each request above is given either a number or a pointer to the structure of its
    // declared size, which lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument) };
    if result < 0 { Err(format!("{name} failed: {}", io::Error::last_os_error())) } else { Ok(result) }
}

fn fd(raw: c_int) -> OwnedFd {
    // SAFETY: KVM_CREATE_VM and KVM_CREATE_VCPU return a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

struct Mapping {
    address: *mut c_void,
    length: usize,
}

impl Mapping {
    fn anonymous(length: usize) -> Result<Self, String> {
        Self::map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// The `kvm_run` structure of a processor.
    fn of(processor: &OwnedFd, length: usize) -> Result<Self, String> {
        if length < 16 {
            return Err(format!("KVM shares only {length} bytes with a virtual processor"));
        }
        Self::map(length, libc::MAP_SHARED, processor.as_raw_fd())
    }

    fn map(length: usize, flags: c_int, fd: c_int) -> Result<Self, String> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(format!("could not map memory: {}", io::Error::last_os_error()));
        }
        Ok(Self { address, length })
    }

    fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.length, "the program fits its memory");
        // SAFETY: the mapping is ours, writable and long enough, and no processor runs yet.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.cast::<u8>(), bytes.len()) };
    }

    /// The field of that name in `struct kvm_run`.
    fn exit_reason(&self) -> u32 {
        // SAFETY: the mapping is at least 16 bytes long and page aligned; the kernel writes the
        // field before KVM_RUN returns.
        unsafe { ptr::read_volatile(self.address.cast::<u8>().add(8).cast::<u32>()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.address, self.length) };
    }
}
