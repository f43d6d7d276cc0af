//! Things by number, with numbers used again, and handles that notice it.

/// Where a thing lies, and which of the things that have lain there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) index: u32,
    generation: u32,
}

/// Grows, never shrinks; slots that became free are taken first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    thing: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize].thing = Some(thing);
            return index;
        }
        self.slots.push(Slot {
            generation: 0,
            thing: Some(thing),
        });
        self.slots.len() as u32 - 1
    }

    pub(super) fn remove(&mut self, index: u32) -> T {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.thing.take().expect(VACANT)
    }

    pub(super) fn handle(&self, index: u32) -> Handle {
        Handle {
            index,
            generation: self.slots[index as usize].generation,
        }
    }

    /// The thing that the handle was made for, if it is still there.
    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self
            .slots
            .get(handle.index as usize)
            .filter(|slot| slot.generation == handle.generation)?;
        slot.thing.as_ref()
    }

    pub(super) fn holds(&self, handle: Handle) -> bool {
        self.get(handle).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i as u32, slot.thing.as_ref()?)))
    }
}

/// Numbers come from `insert` and are dropped by whoever calls `remove`: another number is a bug of the tree.
const VACANT: &str = "a number of the tree points at nothing";

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.slots[index as usize].thing.as_ref().expect(VACANT)
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.slots[index as usize].thing.as_mut().expect(VACANT)
    }
}
