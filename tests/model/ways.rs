//! Ways through a state space that was explored: to a state, and from everywhere to a proper end.

use std::collections::{HashMap, HashSet, VecDeque};

use stateright::Model as _;

use super::explore::{Found, Space};
use super::judge;
use super::state::State;
use super::steps::{Step, Told};

impl Space {
    /// Notes a state that was reached.
    pub fn note(&self, state: &State, from: Option<(u64, Step)>) {
        let broken = state.whole.broken;
        let mut reached = self.reached.lock().unwrap();
        reached.entry(state.key).or_insert(Found { from, broken });
        if judge::is_proper_end(&state.whole) {
            self.ends.lock().unwrap().insert(state.key);
        }
    }

    /// A state from which no fair steps lead to a proper end, if there is one, and how many of them there are.
    pub fn lost(&self) -> Option<(u64, usize)> {
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        for (from, to) in self.fair.lock().unwrap().iter() {
            back.entry(*to).or_default().push(*from);
        }
        let ends = self.ends.lock().unwrap();
        let (mut saved, mut queue): (HashSet<u64>, VecDeque<u64>) =
            (ends.clone(), ends.iter().copied().collect());
        while let Some(key) = queue.pop_front() {
            for from in back.get(&key).into_iter().flatten() {
                if saved.insert(*from) {
                    queue.push_back(*from);
                }
            }
        }
        let reached = self.reached.lock().unwrap();
        let lost: Vec<u64> = reached
            .keys()
            .filter(|key| !saved.contains(key))
            .copied()
            .collect();
        let shortest = lost
            .iter()
            .min_by_key(|key| (self.depth(&reached, **key), **key))?;
        Some((*shortest, lost.len()))
    }

    fn depth(&self, reached: &HashMap<u64, Found>, mut key: u64) -> usize {
        let mut depth = 0;
        while let Some((from, _)) = reached.get(&key).and_then(|found| found.from) {
            (key, depth) = (from, depth + 1);
        }
        depth
    }

    /// The steps that lead to a state.
    pub fn way_to(&self, mut key: u64) -> Vec<Step> {
        let reached = self.reached.lock().unwrap();
        let mut steps = Vec::new();
        while let Some((from, step)) = reached.get(&key).and_then(|found| found.from) {
            steps.push(step);
            key = from;
        }
        steps.reverse();
        steps
    }

    /// These steps, told for people.
    pub fn story(&self, steps: &[Step]) -> String {
        let mut lines = Vec::new();
        let mut state = self.init_states().remove(0);
        for step in steps {
            lines.push(Told(&state.whole, *step).to_string());
            match self.next_state(&state, *step) {
                Some(next) => state = next,
                None => lines.push("(nothing changes)".to_owned()),
            }
        }
        for violation in judge::violations(&state.whole, &self.scene) {
            lines.push(format!("=> {violation}"));
        }
        lines.join("\n")
    }
}
