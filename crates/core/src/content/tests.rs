//! Files of every kind that a path may lead to, and text as Windows has it.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

fn fifo(folder: &Path) -> PathBuf {
    let path = folder.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path
}

#[test]
fn what_is_no_file_is_refused_at_once_by_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();

    for (path, kind) in [
        ("/dev/zero".into(), "a device"),
        (folder.path().into(), "a directory"),
        (fifo(folder.path()), "a pipe"),
        (socket, "a socket"),
    ] {
        let fault = read(&path, 10).unwrap_err();

        assert_eq!(fault.to_string(), format!("it is {kind}, not a regular file"), "{}", path.display());
    }
}

#[test]
fn a_writer_of_a_pipe_that_is_refused_still_waits_for_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = fifo(folder.path());

    read(&path, 10).unwrap_err();

    let flags = (OFlags::NONBLOCK).bits().cast_signed();
    let opened = fs_err::OpenOptions::new().write(true).custom_flags(flags).open(&path);
    assert!(opened.is_err(), "the pipe was opened, which a writer takes for a reader");
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs_err::write(&path, "0123456789").unwrap();

    assert_eq!(read(&path, 10).unwrap().bytes.expose(), b"0123456789");
    assert!(matches!(read(&path, 9), Err(ReadError::TooLarge { limit: 9 })));
    assert_eq!(read(Path::new("/proc/self/cmdline"), 1 << 20).unwrap().mode & 0o777, 0o444);
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let (reader, mut writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    assert!(is_pipe(&path));
    let writing = std::thread::spawn(move || {
        for part in ["a", "b", "c"] {
            writer.write_all(part.as_bytes()).unwrap();
        }
    });

    assert_eq!(read_pipe(&path, 10, PATIENCE).unwrap().bytes.expose(), b"abc");
    writing.join().unwrap();
}

#[test]
fn a_pipe_without_an_end_is_read_up_to_its_limit() {
    let (reader, mut writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    writer.write_all(b"0123456789").unwrap();

    assert!(matches!(read_pipe(&path, 9, PATIENCE), Err(ReadError::TooLarge { limit: 9 })));
}

#[test]
fn a_pipe_that_nothing_writes_into_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();

    let fault = read_pipe(&fifo(folder.path()), 10, PATIENCE).unwrap_err();

    assert_eq!(fault.to_string(), "it is a pipe, and nothing writes to it");
}

#[test]
fn a_pipe_that_gives_a_byte_now_and_then_is_waited_for_no_longer_than_a_silent_one() {
    let (reader, mut writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        let pause = Duration::from_millis(10);
        while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            writer.write_all(b"a").unwrap();
        }
    });

    // Were it not for the deadline, the reading would end at the limit, after some ten minutes.
    let fault = read_pipe(&path, 60_000, Duration::from_millis(300)).unwrap_err();

    assert_eq!(fault.to_string(), "it is a pipe, and its writer has not closed it in time");
    assert!(PATIENCE < Duration::from_secs(10), "SDKs wait for a process no longer");
    drop(stop);
    writing.join().unwrap();
}

#[test]
fn a_byte_order_mark_is_no_text() {
    assert_eq!(text(b"\xef\xbb\xbf-----BEGIN"), Ok(&b"-----BEGIN"[..]));
    assert_eq!(text(b"-----BEGIN"), Ok(&b"-----BEGIN"[..]));
    assert_eq!(text(b"\x30\x82\x01\x00"), Ok(&b"\x30\x82\x01\x00"[..]), "DER");
}

/// Of one without a mark, `iconv` has to be told the byte order.
#[test]
fn wide_text_is_refused_with_the_name_that_converts_it() {
    let wide = |marked: &str| -> [Vec<u8>; 4] {
        [
            marked.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            marked.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            marked.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect(),
            marked.chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect(),
        ]
    };
    for (marked, names) in [
        ("\u{feff}-----BEGIN", ["UTF-16", "UTF-16", "UTF-32", "UTF-32"]),
        ("-----BEGIN", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"]),
    ] {
        for (bytes, name) in wide(marked).iter().zip(names) {
            let refused = text(bytes).unwrap_err();

            assert!(refused.to_string().starts_with(&format!("it is text in {name}")), "{refused}");
            assert_eq!(refused.hint(), format!("convert it: iconv -f {name} -t UTF-8 OLD > NEW"));
        }
    }
}

#[test]
fn a_tilde_is_told_where_the_file_is_missing() {
    let path = Path::new("/etc/anchord/~/leaf.pem");

    let fault = read(path, 10).unwrap_err();

    assert!(fault.hint(path).unwrap().contains("only a shell replaces `~`"));
    assert_eq!(fault.hint(Path::new("/etc/leaf.pem~")), None);
}

#[test]
fn a_place_in_a_form_that_is_not_taken_is_told_with_what_is() {
    let missing = || ReadError::System(io::Error::from(io::ErrorKind::NotFound));
    for (path, told) in [
        ("/home/me/-", "write /dev/stdin"),
        ("/home/me/file:///etc/leaf.pem", "without `file:`"),
        ("/home/me/file:leaf.pem", "without `file:`"),
        ("/home/me/$HOME/leaf.pem", "`$VARIABLE` is not expanded here"),
        ("/home/me/${HOME}/leaf.pem", "`$VARIABLE` is not expanded here"),
        ("/etc/anchord/%h/leaf.pem", "only systemd replaces `%`"),
        ("/home/me/https://vault/leaf.pem", "nothing is fetched from URLs"),
        ("/home/me/ENV:LEAF", "env:VARIABLE, credential:NAME"),
        ("/home/me/cred:leaf", "env:VARIABLE, credential:NAME"),
        ("/run/credentials/anchord.service/leaf", "`LoadCredential=NAME:PATH`"),
    ] {
        let hint = missing().hint(Path::new(path)).unwrap_or_default();
        assert!(hint.contains(told), "{path}: {hint}");
    }
    for path in ["/etc/anchord/leaf-.pem", "/etc/a$b/100%/leaf.pem", "/dev/disk/by-path/:0"] {
        assert_eq!(missing().hint(Path::new(path)), None, "{path}");
    }
}
