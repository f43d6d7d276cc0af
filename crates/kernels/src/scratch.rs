//! Memory that a thread reuses from kernel to kernel.

/// Memory that a thread reuses from kernel to kernel. It grows to the largest request and stays.
#[derive(Default)]
pub struct Scratch {
    lines: Vec<Line>,
}

/// A cache line, and one AVX-512 register.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "read and written as the buffers cut out of it")] [u8; 64]);

/// Numbers for which every bit pattern is a value.
///
/// # Safety
/// As said, and no padding; at most 64 bytes, a power of two.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: a machine number.
unsafe impl Plain for u8 {}
// SAFETY: a machine number.
unsafe impl Plain for i8 {}
// SAFETY: a machine number.
unsafe impl Plain for u16 {}
// SAFETY: a machine number.
unsafe impl Plain for i16 {}
// SAFETY: a machine number.
unsafe impl Plain for u32 {}
// SAFETY: a machine number.
unsafe impl Plain for i32 {}
// SAFETY: a machine number.
unsafe impl Plain for f32 {}

impl Scratch {
    /// `N` disjoint float buffers; see [`Scratch::buffers`].
    pub(crate) fn floats<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        self.aligned(lengths)
    }

    /// `N` disjoint buffers of one type; see [`Scratch::buffers`].
    pub(crate) fn aligned<T: Plain, const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [T]; N] {
        let mut rest = self.grow(lengths.iter().map(|&length| lines::<T>(length)).sum());
        lengths.map(|length| rest.take(length))
    }

    /// Disjoint buffers of the types and lengths given, each on a cache line of its own, with unspecified contents:
    /// `let (codes, sums) = scratch.buffers::<(i8, i32)>([256, 16]);`
    pub(crate) fn buffers<'a, B: Buffers<'a>>(&'a mut self, lengths: B::Lengths) -> B::Slices {
        B::carve(self, lengths)
    }

    fn grow(&mut self, lines: usize) -> Rest<'_> {
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        Rest(&mut self.lines)
    }
}

fn lines<T>(length: usize) -> usize {
    (length * size_of::<T>()).div_ceil(size_of::<Line>())
}

/// What has not been given out yet.
struct Rest<'a>(&'a mut [Line]);

impl<'a> Rest<'a> {
    fn take<T: Plain>(&mut self, length: usize) -> &'a mut [T] {
        let (own, tail) = std::mem::take(&mut self.0).split_at_mut(lines::<T>(length));
        self.0 = tail;
        // SAFETY: `own` is exclusive, initialised, aligned to 64 bytes and long enough; any bits are a `T`.
        unsafe { std::slice::from_raw_parts_mut(own.as_mut_ptr().cast(), length) }
    }
}

/// A tuple of element types; see [`Scratch::buffers`].
pub(crate) trait Buffers<'a> {
    /// As many lengths as types.
    type Lengths;
    /// A slice of each type.
    type Slices;
    /// Cuts the slices out of `scratch`.
    fn carve(scratch: &'a mut Scratch, lengths: Self::Lengths) -> Self::Slices;
}

macro_rules! buffers {
    ($n:literal: $($t:ident $length:ident),*) => {
        impl<'a, $($t: Plain + 'a),*> Buffers<'a> for ($($t,)*) {
            type Lengths = [usize; $n];
            type Slices = ($(&'a mut [$t],)*);
            fn carve(scratch: &'a mut Scratch, lengths: Self::Lengths) -> Self::Slices {
                let [$($length),*] = lengths;
                let mut rest = scratch.grow(0 $(+ lines::<$t>($length))*);
                ($(rest.take::<$t>($length),)*)
            }
        }
    };
}

buffers!(2: A a, B b);
buffers!(3: A a, B b, C c);
buffers!(4: A a, B b, C c, D d);
buffers!(5: A a, B b, C c, D d, E e);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_disjoint_and_grow() {
        let mut scratch = Scratch::default();
        for n in [0, 1, 63, 64, 1000] {
            let (codes, sums, scales) = scratch.buffers::<(i8, i32, f32)>([n, n + 1, 3]);
            assert_eq!((codes.len(), sums.len(), scales.len()), (n, n + 1, 3));
            for start in [
                codes.as_ptr().addr(),
                sums.as_ptr().addr(),
                scales.as_ptr().addr(),
            ] {
                assert!(start.is_multiple_of(64));
            }
            codes.fill(1);
            sums.fill(2);
            scales.fill(3.0);
            assert!(codes.iter().all(|&x| x == 1) && sums.iter().all(|&x| x == 2));
        }
        let [a, b] = scratch.floats([5, 7]);
        a.fill(1.0);
        b.fill(2.0);
        assert_eq!((a.len(), b.len(), a[4]), (5, 7, 1.0));
    }
}
