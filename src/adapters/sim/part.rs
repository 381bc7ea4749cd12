//! Parts of a world that its clones share until one of them changes a part.
//!
//! A model checker clones and hashes a world for each step, and a step changes little of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

/// A value that is cloned only when it is changed, and whose hash is kept until then.
pub struct Part<T>(Arc<Content<T>>);

struct Content<T> {
    value: T,
    hash: OnceLock<u64>,
}

impl<T> Part<T> {
    /// Whether two are one: never true of values that differ, and cheap.
    pub fn is_shared(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for Part<T> {
    fn from(value: T) -> Self {
        let hash = OnceLock::new();
        Self(Arc::new(Content { value, hash }))
    }
}

impl<T: Default> Default for Part<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Clone for Content<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            hash: OnceLock::new(),
        }
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        let content = Arc::make_mut(&mut self.0);
        content.hash = OnceLock::new();
        &mut content.value
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared(other) || **self == **other
    }
}

impl<T: Eq> Eq for Part<T> {}

impl<T: Hash> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.0.hash.get_or_init(|| {
            let mut mixer = Mixer::default();
            self.0.value.hash(&mut mixer);
            mixer.finish()
        });
        state.write_u64(*hash);
    }
}

impl<T: fmt::Debug> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// MurmurHash3's mixing, one word of 64 bits at a time: a world has some thousand of them, and the library's own hash takes
/// several times as long.
#[derive(Debug, Default)]
pub struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let word = word.wrapping_mul(0x87c3_7b91_1142_53d5).rotate_left(31);
        self.0 ^= word.wrapping_mul(0x4cf5_ad43_2745_937f);
        self.0 = self.0.rotate_left(27).wrapping_mul(5).wrapping_add(0x52dc_e729);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn finish(&self) -> u64 {
        let mut key = self.0;
        key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        key ^ (key >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(part: &Part<String>) -> u64 {
        let mut mixer = Mixer::default();
        part.hash(&mut mixer);
        mixer.finish()
    }

    #[test]
    fn a_clone_that_is_changed_leaves_the_other_as_it_was_and_has_its_own_hash() {
        let one: Part<String> = "web".to_owned().into();
        let before = hash(&one);
        let mut two = one.clone();
        assert!(two.is_shared(&one));
        two.push('2');
        assert_eq!((one.as_str(), two.as_str()), ("web", "web2"));
        assert_eq!(hash(&one), before);
        assert_ne!(hash(&two), before);
        two.pop();
        assert_eq!(hash(&two), before);
        assert_eq!(one, two);
    }
}
