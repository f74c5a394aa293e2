//! Files that vanish while nothing runs: told once, forgotten, their ledger kept.

use super::{
    LONG, all,
    world::{LOG, World},
    write,
};

fn complaints(world: &World) -> usize {
    let troubles = world.report().map_or_else(Vec::new, |report| report.troubles.clone());
    troubles.iter().filter(|trouble| trouble.contains("are gone")).count()
}

#[test]
fn a_file_deleted_while_nothing_ran_is_told_once_and_keeps_its_ledger() {
    let mut world = World::new(1, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.kill();
    world.disk.remove(LOG).expect("removed");
    world.start();
    world.until(LONG, |world| complaints(world) == 1);
    write(&world, 100..200);
    world.until(LONG, |world| world.stored("a").len() == 200 && world.is_quiet());
    world.until(LONG, |world| world.totals("a").delivered == 200);
    world.kill();
    world.start();
    write(&world, 200..210);
    world.until(LONG, |world| world.stored("a").len() == 210 && world.totals("a").delivered == 210);
    assert_eq!(complaints(&world), 0, "nothing new is gone");
    assert_eq!(world.stored("a"), all(0..210));
}
