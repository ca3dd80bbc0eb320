//! The garbage collection: what it frees, and what it never may.

use super::Scene;
use crate::{running_engine, stand::FORKED};
use awqdeploy::{
    domain::{
        activation::machine::{Activation, Cause, End, State, Step},
        digest::Sha256Digest,
        generation_id::GenerationId,
        planning::plan::Plan,
        size::ByteSize,
        store::gc::{Collection, Inventory, Used, Why},
    },
    host::store::{Store, hash_cache::HashCache},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

fn id(number: u64) -> GenerationId {
    GenerationId(number)
}

fn digest(name: u64) -> Sha256Digest {
    Sha256Digest::of(name.to_le_bytes())
}

/// Generation `n` uses model `n` and runtime `n`; model `n` has contents `n` and `n + 1`.
fn stock(generations: u64) -> Inventory {
    let contents = |model: u64| BTreeSet::from([digest(model), digest(model + 1)]);
    let used =
        |n| Used { model: Some(digest(n)), runtime: Some(digest(n)), python: Some(digest(100 + n / 2)) };
    Inventory {
        generations: (1..=generations).map(|n| (id(n), used(n))).collect(),
        models: (1..=generations).map(|n| (digest(n), contents(n))).collect(),
        runtimes: (1..=generations).map(digest).collect(),
        pythons: (0..=generations / 2).map(|n| digest(100 + n)).collect(),
        manifests: (1..=generations).chain(100..=100 + generations / 2).chain([99]).map(digest).collect(),
        contents: (1..=generations + 1).map(digest).collect(),
        ..Inventory::default()
    }
}

fn ids(numbers: &[u64]) -> BTreeSet<GenerationId> {
    numbers.iter().copied().map(id).collect()
}

fn names(numbers: &[u64]) -> BTreeSet<Sha256Digest> {
    numbers.iter().copied().map(digest).collect()
}

#[test]
fn what_serves_and_what_it_can_return_to_stays() {
    let stock = Inventory { current: Some(id(4)), proven: ids(&[1, 2, 4]), ..stock(5) };
    let collection = Collection::of(&stock);
    assert_eq!(collection.kept, BTreeMap::from([(id(2), Why::Previous), (id(4), Why::Current)]));
    assert_eq!(collection.generations, ids(&[1, 3, 5]));
    assert_eq!((&collection.models, &collection.runtimes), (&names(&[1, 3, 5]), &names(&[1, 3, 5])));
    // Two generations share an interpreter: 4's, and 2's with 3. What is recorded of nothing goes too.
    assert_eq!(collection.pythons, names(&[100]));
    assert_eq!(collection.manifests, names(&[1, 3, 5, 99, 100]));
    // 2, 3, 4 and 5 are contents of models 2 and 4 as well.
    assert_eq!(collection.contents, names(&[1, 6]));
}

#[test]
fn pins_and_unfinished_activations_hold() {
    let stock = Inventory {
        current: Some(id(3)),
        proven: ids(&[3]),
        pinned: ids(&[1, 9]),
        unfinished: ids(&[3, 5]),
        ..stock(5)
    };
    let collection = Collection::of(&stock);
    let kept = [(id(1), Why::Pinned), (id(3), Why::Current), (id(5), Why::Unfinished)];
    assert_eq!(collection.kept, BTreeMap::from(kept));
    assert_eq!(collection.generations, ids(&[2, 4]));
}

/// After a rollback to 2, a failing deployment would return to 2, and `rollback` go to 1; 3 is proven too.
#[test]
fn both_ways_back_stay_open() {
    let stock = Inventory { current: Some(id(2)), proven: ids(&[1, 2, 3]), ..stock(3) };
    assert_eq!(Collection::of(&stock).generations, ids(&[]));
}

#[test]
fn what_was_fetched_and_not_deployed_yet_stays() {
    let mut stock = Inventory { current: Some(id(1)), ..stock(2) };
    let waiting = BTreeSet::from([digest(70), digest(71)]);
    stock.locked.insert(digest(7), waiting.clone());
    stock.contents.extend(waiting);
    stock.contents.insert(digest(99));
    // A profile that still locks what a generation that goes has used does not hold it.
    stock.locked.insert(digest(2), names(&[2, 3]));
    let collection = Collection::of(&stock);
    assert_eq!(collection.models, names(&[2]));
    assert_eq!(collection.contents, names(&[3, 99]));
}

/// Contents 1 and 2 are in the store; 70 is to come, 99 was given up, and 2 came by another road meanwhile.
#[test]
fn an_interrupted_download_stays_while_a_fetch_would_go_on_with_it() {
    let mut stock = Inventory { current: Some(id(1)), downloads: names(&[2, 70, 99]), ..stock(1) };
    stock.locked.insert(digest(7), names(&[70, 71]));
    assert_eq!(Collection::of(&stock).downloads, names(&[70]));
    // Locked by a profile, and by nothing that waits: its only generation goes.
    stock.generations.insert(id(2), Used { model: Some(digest(7)), ..Used::default() });
    assert_eq!(Collection::of(&stock).downloads, names(&[]));
}

proptest! {
    /// Whatever there is: what is kept has all that it needs, and what is not needed by it goes.
    #[test]
    fn nothing_that_is_kept_misses_anything(
        count in 1_u64..8,
        current in prop::option::of(1_u64..8),
        sets in prop::collection::vec(prop::collection::btree_set(1_u64..9, 0..5), 3),
    ) {
        let set = |index: usize| sets[index].iter().copied().map(id).collect::<BTreeSet<_>>();
        let stock = Inventory {
            current: current.map(id),
            proven: set(0),
            pinned: set(1),
            unfinished: set(2),
            ..stock(count)
        };
        let collection = Collection::of(&stock);
        for generation in stock.current.iter().chain(&stock.pinned).chain(&stock.unfinished) {
            prop_assert!(!collection.generations.contains(generation));
        }
        if let Some(newest) = stock.proven.iter().rfind(|id| Some(**id) != stock.current) {
            prop_assert!(!collection.generations.contains(newest));
        }
        for (generation, used) in &stock.generations {
            if collection.generations.contains(generation) {
                continue;
            }
            prop_assert!(collection.kept.contains_key(generation));
            let model = used.model.unwrap();
            prop_assert!(!collection.models.contains(&model));
            prop_assert!(!collection.runtimes.contains(&used.runtime.unwrap()));
            prop_assert!(collection.contents.is_disjoint(&stock.models[&model]));
        }
    }
}

/// A generation of the scene's model, with a journal that ends so.
fn generation(scene: &Scene, end: End) -> GenerationId {
    let plan = running_engine::plan("127.0.0.1:1".parse().unwrap());
    let model = awqdeploy::domain::planning::inputs::PlannedModel {
        digest: Some(scene.model.digest()),
        ..plan.model
    };
    let writer = scene.store.writer(FORKED, "test").unwrap();
    let to = writer.add_generation(Plan { model, ..plan }, "", Path::new("/bin/true")).unwrap();
    let (_, mut journal) = writer.begin_activation().unwrap();
    journal.record(&Activation { from: None, to, state: State::Done { end } }).unwrap();
    to
}

fn rolled_back() -> End {
    End::RolledBack { cause: Cause::Interrupted { step: Step::Start } }
}

fn collect(store: &Store) -> (Collection, ByteSize) {
    let collection = Collection::of(&store.stock(&[]).unwrap());
    let freed = store.freed(&collection).unwrap();
    store.writer(FORKED, "test").unwrap().collect(&collection).unwrap();
    (collection, freed)
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).map(Iterator::count).unwrap_or_default()
}

#[test]
fn a_store_gives_back_what_it_says_and_keeps_what_is_shared() {
    let scene = Scene::taken_in();
    let old = generation(&scene, End::Committed);
    // The next model differs in one small file.
    super::write(&scene.source().join("config.json"), &super::bytes(7, 100_000));
    let next = scene.with_model(super::lock(&scene.source()).unwrap());
    next.take_in(Some(&scene.source())).unwrap();
    let current = generation(&next, End::Committed);
    let failed = generation(&next, rolled_back());
    let store = &scene.store;
    store.writer(FORKED, "test").unwrap().point(Some(current)).unwrap();

    let (collection, _) = collect(store);
    assert_eq!(collection.generations, BTreeSet::from([failed]));
    assert_eq!((scene.damaged(), next.damaged()), (vec![], vec![]));

    // Pinned: stays though it is not what a rollback returns to any more.
    let writer = store.writer(FORKED, "test").unwrap();
    writer.pin(old).unwrap();
    drop(writer);
    let another = generation(&next, End::Committed);
    assert!(another > failed, "a number was used again");
    let newest = generation(&next, End::Committed);
    store.writer(FORKED, "test").unwrap().point(Some(newest)).unwrap();
    assert_eq!(collect(store).0.generations, BTreeSet::from([current]));

    store.writer(FORKED, "test").unwrap().unpin(old).unwrap();
    assert!(store.writer(FORKED, "test").unwrap().unpin(old).is_err());
    let (collection, freed) = collect(store);
    assert_eq!(collection.generations, BTreeSet::from([old]));
    assert_eq!(collection.models, BTreeSet::from([scene.model.digest()]));
    assert_eq!(collection.contents.len(), 1, "only the small file was its own");
    assert!((1..1 << 20).contains(&freed.0), "the weights are shared, and were counted: {freed}");
    assert!(!scene.stored().exists());
    assert!(store.model_lock(scene.model.digest()).is_err());
    assert_eq!(next.damaged(), []);
    assert_eq!(entries(&store.layout().blobs()), 4);
    assert_eq!(entries(&store.layout().staging()), 0);
    assert_eq!(store.known_good().unwrap(), BTreeSet::from([another, newest]));
    assert_eq!(collect(store).0.generations, BTreeSet::new());
    assert_eq!(next.check(&HashCache::default()).damaged, []);
}

/// The source is the same file under another name: removing ours frees nothing.
#[test]
fn what_has_another_name_is_not_counted() {
    let scene = Scene::new();
    scene.take_in(Some(&scene.source())).unwrap();
    if fs::metadata(scene.source().join("config.json")).unwrap().nlink() == 1 {
        // A file system that shares blocks does not tell which ones are shared.
        return;
    }
    let (collection, freed) = collect(&scene.store);
    assert_eq!(collection.models.len(), 1);
    assert!(freed < ByteSize::mib(1), "{freed}");
    assert_eq!(fs::read(scene.source().join("config.json")).unwrap(), b"{}");

    let scene = Scene::taken_in();
    assert!(collect(&scene.store).1 >= ByteSize::mib(24));
}

/// A kill between two renames leaves this.
#[test]
fn locks_of_no_model_go() {
    let scene = Scene::taken_in();
    let locks = scene.store.layout().model_lock(scene.model.digest()).parent().unwrap().to_owned();
    for stray in [format!("{}.toml", digest(1)), format!(".{}.toml.new", digest(2)), "odd".to_owned()] {
        fs::write(locks.join(stray), "").unwrap();
    }
    assert_eq!(entries(&locks), 4);
    // A profile that locks it is not there: the model goes, and its lock with it.
    let keep = Inventory {
        locked: BTreeMap::default(),
        ..scene.store.stock(std::slice::from_ref(&scene.model)).unwrap()
    };
    let writer = scene.store.writer(FORKED, "test").unwrap();
    let kept = Collection::of(&scene.store.stock(std::slice::from_ref(&scene.model)).unwrap());
    writer.collect(&kept).unwrap();
    assert_eq!(entries(&locks), 1);
    assert!(scene.store.model_lock(scene.model.digest()).is_ok());
    writer.collect(&Collection::of(&keep)).unwrap();
    assert_eq!(entries(&locks), 0);
}
