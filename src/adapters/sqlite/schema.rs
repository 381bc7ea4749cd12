//! Versions of the table's schema, and the way from each to the next.

use rusqlite::{Connection, TransactionBehavior};

/// Says in the file's header that it is a handoverd service table: "hov1".
pub const APPLICATION_ID: i32 = 0x686f_7631;

/// Step N-1 of the list leads from version N-1 to version N. A released step never changes.
pub const STEPS: &[&str] = &[
    include_str!("version_1.sql"),
    include_str!("version_2.sql"),
    include_str!("version_3.sql"),
    include_str!("version_4.sql"),
    include_str!("version_5.sql"),
    include_str!("version_6.sql"),
    include_str!("version_7.sql"),
];

/// The version that a list of steps leads to.
pub fn newest(steps: &[&str]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// The version of a file: 0 if nothing was ever written into it.
pub fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Takes the file to the newest version, each step in a transaction of its own: after a failure it stands at the
/// last version that was reached whole.
pub fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (number, step) in (1u32..).zip(steps) {
        if number <= from {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A column or index that a file of this version must have and this one has not, for people.
pub fn missing(connection: &Connection, version: u32) -> rusqlite::Result<Option<String>> {
    let steps = usize::try_from(version).ok().and_then(|count| STEPS.get(..count));
    let mut whole = Connection::open_in_memory()?;
    migrate(&mut whole, steps.unwrap_or(STEPS))?;
    let there = parts(connection)?;
    Ok(parts(&whole)?.into_iter().find(|part| !there.contains(part)))
}

/// Every column of every table, and every index that was asked for.
fn parts(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT 'column ' || c.name || ' of table ' || m.name
             FROM sqlite_master m JOIN pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'
             UNION SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite%'",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD_COLUMN: &str = "ALTER TABLE audit ADD COLUMN why TEXT NOT NULL DEFAULT 'unknown';";

    fn version_1_with_a_row() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &STEPS[..1]).unwrap();
        connection
            .execute(
                "INSERT INTO audit (at, who, what, decision) VALUES (1, 'a', 'b', 'c')",
                [],
            )
            .unwrap();
        connection
    }

    #[test]
    fn an_empty_file_is_taken_to_the_newest_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, STEPS).unwrap();
        assert_eq!(version(&connection).unwrap(), newest(STEPS));
    }

    #[test]
    fn a_later_step_keeps_what_version_1_held() {
        let mut connection = version_1_with_a_row();
        migrate(&mut connection, &[STEPS[0], ADD_COLUMN]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
        let row: (String, String) = connection
            .query_row("SELECT who, why FROM audit", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(row, ("a".to_owned(), "unknown".to_owned()));
    }

    #[test]
    fn a_step_that_fails_half_way_leaves_the_version_before_it() {
        let mut connection = version_1_with_a_row();
        let broken = format!("{ADD_COLUMN} INSERT INTO nowhere VALUES (1);");
        migrate(&mut connection, &[STEPS[0], &broken]).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT why FROM audit").is_err());
        // The same file is still fit for a step that works.
        migrate(&mut connection, &[STEPS[0], ADD_COLUMN]).unwrap();
        assert!(connection.prepare("SELECT why FROM audit").is_ok());
    }
}
