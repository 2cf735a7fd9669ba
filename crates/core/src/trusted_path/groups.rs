//! Which users can use a group's permissions.
//!
//! Many systems give each user a group of their own and let it write to what the user makes (umask 002). So a directory
//! that its group can write to is no danger if the group has no other members.

use std::path::Path;

use crate::content;

/// Whether the files of this host show that the group has only `trusted` users.
pub(super) fn is_private(group: u32, trusted: &[u32]) -> bool {
    let read = |path| {
        let content = content::read(Path::new(path), MAX_BYTES).ok()?;
        String::from_utf8(content.bytes.expose().clone()).ok()
    };
    match (read("/etc/passwd"), read("/etc/group")) {
        (Some(users), Some(groups)) => has_only(trusted, group, &users, &groups),
        _ => false,
    }
}

const MAX_BYTES: u64 = 16 << 20;

/// The same by the content of passwd(5) and group(5). A group that is not in there may have any members.
fn has_only(trusted: &[u32], group: u32, users: &str, groups: &str) -> bool {
    let mut trusted_names = Vec::new();
    for line in users.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, user, primary, ..] = fields[..] else { continue };
        let is_trusted = user.parse().is_ok_and(|user| trusted.contains(&user));
        if is_trusted {
            trusted_names.push(name);
        } else if primary.parse() == Ok(group) {
            return false;
        }
    }
    let mut is_known = false;
    for line in groups.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, number, members] = fields[..] else { continue };
        if number.parse() == Ok(group) {
            is_known = true;
            if members.split(',').any(|member| !member.is_empty() && !trusted_names.contains(&member)) {
                return false;
            }
        }
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n\
        bob:x:1001:1001::/home/bob:/bin/sh\nguest:x:1002:100::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nalice:x:1000:\nbob:x:1001:alice,bob\nstaff:x:50:\nusers:x:100:\n\
        mixed:x:60:alice,bob\nours:x:61:alice,root\nelsewhere:x:62:carol\n";

    #[test]
    fn a_group_is_private_if_the_files_show_no_other_member() {
        let is_alices = |group| has_only(&[0, 1000], group, USERS, GROUPS);

        let private = [0, 1000, 50, 61].map(is_alices);
        let shared = [1001, 100, 60, 62, 4711].map(is_alices);

        assert_eq!(private, [true; 4], "nobody else is a member, nobody is, or only trusted users are");
        assert_eq!(
            shared, [false; 5],
            "a member, a primary group, a member, an unknown user, an unknown group"
        );
    }
}
