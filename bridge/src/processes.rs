//! Which processes of bridges live on this machine.
//!
//! A bridge that was killed has not given up the lease of its name. A process that starts on the
//! same machine need not wait until that bridge has been silent for long: the kernel knows that the
//! other process is gone. Each process holds an abstract Unix socket that bears the process's name,
//! and the kernel closes the socket with the process, however it ends.

use std::sync::Arc;

use uuid::Uuid;

/// What a process of a bridge knows of itself and of others on its machine.
pub trait Processes: Send + Sync {
    /// Names this process, and no other one ever.
    fn own(&self) -> &str;

    /// Names the machine, as far as processes on it can see each other; `None` if that is not known.
    fn place(&self) -> Option<&str>;

    /// Whether a process of this machine lives.
    fn lives(&self, process: &str) -> bool;
}

/// This process. Others see that it lives for as long as this value is kept.
pub struct ThisProcess {
    own: String,
    place: Option<String>,
    #[cfg(target_os = "linux")]
    _socket: Option<std::os::unix::net::UnixListener>,
}

impl ThisProcess {
    /// Makes this process visible to others of this machine. `boot_id` names the machine's present
    /// boot if the file `/proc/sys/kernel/random/boot_id` is hidden from this process.
    #[must_use]
    pub fn show(boot_id: Option<&str>) -> Arc<dyn Processes> {
        let own = Uuid::new_v4().to_string();
        #[cfg(target_os = "linux")]
        {
            let socket = linux::bind(&own);
            // What others cannot see is not on any machine that they know.
            let place = socket.as_ref().and_then(|_| linux::place(boot_id));
            Arc::new(Self {
                own,
                place,
                _socket: socket,
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = boot_id;
            Arc::new(Self { own, place: None })
        }
    }
}

impl Processes for ThisProcess {
    fn own(&self) -> &str {
        &self.own
    }

    fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    #[cfg(target_os = "linux")]
    fn lives(&self, process: &str) -> bool {
        process == self.own || linux::bind(process).is_none()
    }

    #[cfg(not(target_os = "linux"))]
    fn lives(&self, _: &str) -> bool {
        true
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    /// Takes the socket of a process; `None` if another process has it.
    pub fn bind(process: &str) -> Option<UnixListener> {
        let name = format!("outbound-calls-bridge/{process}");
        let address = SocketAddr::from_abstract_name(name).ok()?;
        UnixListener::bind_addr(&address).ok()
    }

    /// Abstract sockets are seen within one network namespace of one running kernel.
    pub fn place(boot_id: Option<&str>) -> Option<String> {
        let read = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot_id = read.as_deref().or(boot_id)?;
        let namespace = fs::read_link("/proc/self/ns/net").ok()?;
        // systemd writes the same UUID without its hyphens.
        let boot_id = boot_id.trim().replace('-', "");
        Some(format!("{boot_id} {}", namespace.display()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_has_ended() {
        let (one, two) = (ThisProcess::show(None), ThisProcess::show(None));
        assert_ne!(one.own(), two.own());
        assert_eq!(one.place(), two.place());
        assert!(one.place().is_some());
        let gone = one.own().to_owned();
        assert!(two.lives(&gone) && two.lives(two.own()));
        drop(one);
        assert!(!two.lives(&gone));
    }

    #[test]
    fn a_hidden_boot_id_is_told() {
        let read = linux::place(None).unwrap();
        let (boot_id, namespace) = read.split_once(' ').unwrap();
        assert_eq!(boot_id.len(), 32, "{read}");
        assert!(namespace.starts_with("net:["), "{read}");
    }
}
