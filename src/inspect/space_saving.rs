//! The Space-Saving sketch: the heaviest names of a stream in a fixed number of counters.
//!
//! A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams" (2005).
//! A name without a counter takes that of the lightest, and begins with its weight as its error. So with `m` counters
//! and a total weight of `W`:
//! - a name that is not listed has at most `W / m`;
//! - a listed weight is too large by at most its `error`, which is at most `W / m`, and never too small.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A sketch of names and their weights.
pub(super) struct SpaceSaving {
    counters: Vec<Counter>,
    /// Indices of counters: a binary heap by weight, the lightest first.
    heap: Vec<usize>,
    by_name: HashMap<Arc<str>, usize, RandomState>,
    capacity: usize,
    total: f64,
}

/// The weight of one name.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub name: Arc<str>,
    pub weight: f64,
    /// Maximum by which the weight may be too large.
    pub error: f64,
    /// Its index in the heap.
    at: usize,
}

impl SpaceSaving {
    /// Creates a sketch of `capacity` counters, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let (counters, heap, by_name) = (Vec::new(), Vec::new(), HashMap::default());
        Self { counters, heap, by_name, capacity: capacity.max(1), total: 0.0 }
    }

    /// Adds to the weight of a name.
    pub(super) fn add(&mut self, name: &str, weight: f64) {
        self.total += weight;
        if let Some(&index) = self.by_name.get(name) {
            self.counters[index].weight += weight;
            return self.sink(self.counters[index].at);
        }
        let name: Arc<str> = name.into();
        if self.counters.len() < self.capacity {
            let (index, at) = (self.counters.len(), self.heap.len());
            self.by_name.insert(name.clone(), index);
            self.counters.push(Counter { name, weight, error: 0.0, at });
            self.heap.push(index);
            return self.rise(at);
        }
        let index = self.heap[0];
        let lightest = &mut self.counters[index];
        self.by_name.remove(&lightest.name);
        self.by_name.insert(name.clone(), index);
        *lightest =
            Counter { name, weight: lightest.weight + weight, error: lightest.weight, at: 0 };
        self.sink(0);
    }

    /// Multiplies all weights, which keeps their order.
    pub(super) fn scale(&mut self, factor: f64) {
        self.total *= factor;
        for counter in &mut self.counters {
            counter.weight *= factor;
            counter.error *= factor;
        }
    }

    /// Returns the sum of all weights.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Returns the heaviest names, the heaviest first.
    pub(super) fn heaviest(&self, most: usize) -> Vec<Counter> {
        let mut all = self.counters.clone();
        all.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        all.truncate(most);
        all
    }

    fn weight_at(&self, at: usize) -> f64 {
        self.counters[self.heap[at]].weight
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for at in [a, b] {
            self.counters[self.heap[at]].at = at;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter().filter(|c| *c < self.heap.len());
            let lighter = children.min_by(|a, b| self.weight_at(*a).total_cmp(&self.weight_at(*b)));
            match lighter {
                Some(child) if self.weight_at(child) < self.weight_at(at) => self.swap(at, child),
                _ => return,
            }
            at = lighter.expect("it was there just now");
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.weight_at(at) < self.weight_at((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Returns a stream of names and weights: name `n` occurs about `rounds / n` times, and many others once.
    fn stream(rounds: u32) -> Vec<(String, f64)> {
        let mut stream = Vec::new();
        for round in 1..=rounds {
            for n in (1..=40).filter(|n| round % n == 0) {
                stream.push((format!("hot{n}"), f64::from(n % 3 + 1)));
            }
            stream.push((format!("once{round}"), 1.0));
        }
        stream
    }

    #[test]
    fn weights_are_never_too_small_and_too_large_by_the_stated_bound_at_most() {
        const COUNTERS: usize = 64;
        let (mut sketch, mut truth) = (SpaceSaving::new(COUNTERS), BTreeMap::new());
        for (name, weight) in stream(3000) {
            sketch.add(&name, weight);
            *truth.entry(name).or_insert(0.0) += weight;
        }
        let bound = sketch.total() / 64.0;
        let listed = sketch.heaviest(usize::MAX);
        assert_eq!(listed.len(), COUNTERS);
        for counter in &listed {
            let real = truth[&*counter.name];
            assert!(
                counter.weight >= real && counter.weight - counter.error <= real,
                "{counter:?}"
            );
            assert!(counter.error <= bound, "{counter:?} {bound}");
        }
        for (name, weight) in &truth {
            let is_listed = listed.iter().any(|counter| *counter.name == **name);
            assert!(is_listed || *weight <= bound, "{name} {weight}");
        }
        assert!((truth.values().sum::<f64>() - sketch.total()).abs() < 1e-6);
        assert_eq!(&*listed[0].name, "hot1");
    }

    #[test]
    fn the_heap_holds_through_growth_and_replacement() {
        let mut sketch = SpaceSaving::new(7);
        for (name, weight) in stream(500) {
            sketch.add(&name, weight);
            for at in 0..sketch.heap.len() {
                assert_eq!(sketch.counters[sketch.heap[at]].at, at);
                let parent = at.saturating_sub(1) / 2;
                assert!(sketch.weight_at(parent) <= sketch.weight_at(at));
            }
            assert!(sketch.by_name.len() == sketch.counters.len() && sketch.counters.len() <= 7);
        }
    }

    #[test]
    fn scaling_keeps_order_and_shares() {
        let mut sketch = SpaceSaving::new(4);
        for (name, weight) in [("a", 3.0), ("b", 1.0), ("c", 2.0)] {
            sketch.add(name, weight);
        }
        sketch.scale(0.5);
        sketch.add("b", 1.25);
        let names: Vec<_> = sketch.heaviest(2).iter().map(|c| c.name.to_string()).collect();
        assert_eq!(names, ["b", "a"]);
        assert!((sketch.total() - 4.25).abs() < 1e-9);
    }
}
