//! Whose a process, a socket and an answer are: by control groups and sockets, never by names or numbers.

use crate::recorded::read_request;
use awqdeploy::{
    domain::{api::openai::ApiError, profile::secrets::SecretText},
    host::{
        process::{
            control_group::{ControlGroup, Manager, is_a_service},
            owned::OwnedProcesses,
        },
        vllm::api::Api,
    },
};
use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_mins(10);
const KEY: &str = "sk-of-the-house";

#[test]
fn a_group_is_what_its_manager_says_and_not_a_name_in_a_path() {
    let group = ControlGroup::named("/system.slice/vllm.service").unwrap();
    let has = |membership: &str| group.is_in(membership);
    assert!(has("0::/system.slice/vllm.service\n"));
    assert!(has("0::/system.slice/vllm.service/engine\n"), "a group below it");
    assert!(has("12:pids:/x\n1:name=systemd:/system.slice/vllm.service\n"), "with many hierarchies");
    for foreign in [
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service\n",
        "0::/system.slice/docker-1f.scope/system.slice/vllm.service\n",
        "0::/system.slice/vllm.service2\n",
        "0::/system.slice/vllm.service.d\n",
        "0::/system.slice\n",
        "0::/\n",
        // Whoever owns a controller's hierarchy can name groups in it as he likes.
        "4:cpu:/system.slice/vllm.service\n1:name=elogind:/system.slice/vllm.service\n",
        "",
    ] {
        assert!(!has(foreign), "{foreign}");
    }
    assert_eq!(ControlGroup::named(""), None);
    assert_eq!(ControlGroup::named("/"), None, "the root has everything");
}

#[test]
fn a_service_is_told_from_a_session() {
    for (membership, service) in [
        ("0::/system.slice/cron.service\n", true),
        ("0::/user.slice/user-0.slice/session-3.scope\n", false),
        ("0::/system.slice/run-u7.scope\n", false),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", false),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service\n", true),
        ("0::/\n", false),
    ] {
        assert_eq!(is_a_service(membership), service, "{membership}");
    }
}

/// The unit of a process for the system's manager, for that of user 1000, and for that of user 1001.
#[test]
fn a_unit_is_the_outermost_of_the_manager_in_question() {
    let alice = "user.slice/user-1000.slice/user@1000.service";
    let (vllm, nothing) = (Some("vllm.service"), None);
    for (membership, units) in [
        ("0::/system.slice/vllm.service\n", [vllm, nothing, nothing]),
        ("0::/system.slice/vllm.service/engine/vllm2.service\n", [vllm, nothing, nothing]),
        ("0::/gpu.slice/gpu-one.slice/vllm.service\n", [vllm, nothing, nothing]),
        ("0::/vllm.service\n", [vllm, nothing, nothing]),
        ("0::/system.slice/_memory.service\n", [Some("memory.service"), nothing, nothing]),
        // Of a user's manager, and of what that runs.
        (&format!("0::/{alice}/app.slice/vllm.service\n"), [Some("user@1000.service"), vllm, nothing]),
        (&format!("0::/{alice}/vllm.service\n"), [Some("user@1000.service"), vllm, nothing]),
        (
            &format!("0::/{alice}/user.slice/libpod-1f.scope/system.slice/vllm.service\n"),
            [Some("user@1000.service"), Some("libpod-1f.scope"), nothing],
        ),
        (&format!("0::/{alice}/init.scope\n"), [Some("user@1000.service"), Some("init.scope"), nothing]),
        (&format!("0::/{alice}\n"), [Some("user@1000.service"), nothing, nothing]),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", [Some("session-3.scope"), nothing, nothing]),
        // Of containers with a systemd of their own.
        (
            "0::/system.slice/docker-1f.scope/system.slice/vllm.service\n",
            [Some("docker-1f.scope"), nothing, nothing],
        ),
        ("0::/docker/1f/system.slice/vllm.service\n", [nothing; 3]),
        (
            "0::/machine.slice/systemd-nspawn@a.service/payload/system.slice/vllm.service\n",
            [Some("systemd-nspawn@a.service"), nothing, nothing],
        ),
        (
            &format!("0::/machine.slice/machine-a.scope/{alice}/app.slice/vllm.service\n"),
            [Some("machine-a.scope"), nothing, nothing],
        ),
        // Seen from within a container: the host's.
        ("0::/../../system.slice/vllm.service\n", [nothing; 3]),
        // Many hierarchies: only systemd's own counts.
        (
            "4:cpu:/system.slice/x.service\n1:name=systemd:/system.slice/vllm.service\n0::/\n",
            [vllm, nothing, nothing],
        ),
        ("4:cpu:/system.slice/vllm.service\n1:name=elogind:/system.slice/vllm.service\n", [nothing; 3]),
        ("0::/\n", [nothing; 3]),
        ("0::/system.slice\n", [nothing; 3]),
        ("0::/system.slice/.service\n", [nothing; 3]),
        ("", [nothing; 3]),
    ] {
        let seen = [None, Some(1000), Some(1001)]
            .map(|user| Manager::beside("0::/init.scope\n", user).unit(membership));
        assert_eq!(seen.each_ref().map(Option::as_deref), units, "{membership}");
    }
    // A container's own manager, where its groups are named from the host's root on.
    let inner = Manager::beside("0::/system.slice/docker-1f.scope/init.scope\n", None);
    let unit = |membership| inner.unit(membership);
    assert_eq!(unit("0::/system.slice/docker-1f.scope/system.slice/vllm.service\n").as_deref(), vllm);
    assert_eq!(unit("0::/system.slice/vllm.service\n"), None);
    assert_eq!(unit("0::/system.slice/docker-1f.scope2/system.slice/vllm.service\n"), None);
}

/// A process that neither is this one nor descends to it.
fn somebody() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

fn family(of: &Child) -> OwnedProcesses {
    OwnedProcesses::Family(i32::try_from(of.id()).unwrap())
}

/// The first bytes that each connection sent; it gets an answer.
fn listening() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _unheard = told.send(read_request(&mut connection));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _gone = connection.write_all(answer);
        }
    });
    (address, heard)
}

fn api(address: SocketAddr) -> Api {
    Api::at(address, "tiny", PATIENCE).unwrap().with_key(SecretText::of(KEY).ok())
}

#[tokio::test]
async fn nothing_is_sent_to_whoever_is_not_the_service() {
    let (address, heard) = listening();
    let mut other = somebody();
    for whose in [family(&other), OwnedProcesses::Nobody] {
        let api = api(address).held_by(whose);
        for fault in [api.health().await.unwrap_err(), api.models().await.unwrap_err()] {
            let ApiError::Unreachable { why, .. } = fault else { panic!("{fault}") };
            assert!(why.ends_with("listens there, which is not the service"), "{why}");
            assert!(why.contains(&format!("(process {})", std::process::id())), "{why}");
        }
    }
    other.kill().unwrap();
    other.wait().unwrap();

    let ours = api(address).held_by(OwnedProcesses::Ours);
    assert_eq!(ours.health().await, Ok(200));
    let _no_list = ours.models().await;
    // The connections before were made and closed, and nothing came.
    let first =
        || std::iter::repeat_with(|| heard.recv_timeout(PATIENCE).unwrap()).find(|sent| !sent.is_empty());
    let sent = first().unwrap();
    assert!(sent.starts_with("GET /health ") && !sent.contains(KEY), "health needs no key: {sent}");
    let sent = first().unwrap();
    assert!(sent.starts_with("GET /v1/models ") && sent.contains(KEY), "{sent}");
}

/// A connection that nobody has accepted is in the queue of whoever listens: of all that do, each must be the service.
#[test]
fn a_connection_is_proven_before_it_is_accepted_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, theirs) = (waiting.local_addr().unwrap(), waiting.peer_addr().unwrap());
    let mut other = somebody();
    assert_eq!(OwnedProcesses::Ours.hold(ours, theirs), Ok(()));
    assert!(family(&other).hold(ours, theirs).is_err());
    let accepted = listener.accept().unwrap();
    assert_eq!(OwnedProcesses::Ours.hold(ours, theirs), Ok(()));
    assert!(family(&other).hold(ours, theirs).is_err());
    // Whoever accepted it has it, whatever became of the listener.
    drop(listener);
    assert_eq!(OwnedProcesses::Ours.hold(ours, theirs), Ok(()));
    drop(accepted);
    assert!(OwnedProcesses::Ours.hold(ours, theirs).is_err(), "nobody is there any more");
    assert_eq!(OwnedProcesses::Anybody.hold(ours, theirs), Ok(()));
    other.kill().unwrap();
    other.wait().unwrap();
}
