//! N-dimensional arrays: how they are seen in an object, behind the header of `info.rs`, and written there in place.

use std::fmt;
use std::mem::size_of;
use std::ops::Deref;

use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension, Ix1, ShapeBuilder, StrideShape};

use crate::error::{Error, Result};
use crate::value::dtype::{ArrayElement, DType};
use crate::value::element::ElementType;
use crate::value::info::{ArrayInfo, Order, data_at, data_bytes, write_header};
use crate::value::private::PrivateArray;
use crate::value::unchecked::{KeptView, Lent};

/// An array whose elements lie in the arena: owned, read-only, and used like any `ndarray` array, to which it derefs.
///
/// An array keeps the object that it was read from: the elements stay as they are until the last clone is dropped,
/// whatever happens to the name. A clone copies no elements. Arrays can be sent to other threads.
///
/// ```
/// use faretra::{Arena, MIB};
/// use ndarray::{Axis, Ix2, array};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-array-{}", std::process::id()))?;
/// let writer = arena.writer()?;
/// writer.publish("weights", array![[1.0_f32, 2.0], [3.0, 4.0]].view())?;
///
/// let weights = arena.array::<f32, Ix2>("weights")?;
/// writer.publish("weights", array![[0.0_f32]].view())?;
/// assert_eq!(weights.sum_axis(Axis(0)), array![4.0, 6.0]);
/// assert_eq!(weights.nbytes(), 16);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Array<T: ArrayElement, D: Dimension> {
    view: KeptView<T, D>,
    order: Order,
}

impl<T: ArrayElement, D: Dimension> Array<T, D> {
    /// The array whose object was lent.
    pub(crate) fn from_lent(name: &str, object: Lent) -> Result<Array<T, D>> {
        let info = ArrayInfo::parse(object.bytes())?;
        Array::with_info(name, object, &info)
    }

    /// The array whose object was lent, and whose header was read.
    pub(crate) fn with_info(name: &str, object: Lent, info: &ArrayInfo) -> Result<Array<T, D>> {
        let view = KeptView::new(object, |bytes| info.view(name, bytes))?;
        Ok(Array { view, order: info.order })
    }

    /// Maps the elements once more, copy-on-write: they can be written, and nobody else sees what is written.
    ///
    /// Nothing is copied now. The kernel copies a page when it is first written to; [`PrivateArray`] says what that costs
    /// and what happens without memory.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Os`] if the address space is full.
    pub fn private(&self) -> Result<PrivateArray<T, D>> {
        let elements = self.view.as_slice_memory_order().unwrap_or_default();
        let shape = self.view.raw_dim().set_f(self.order == Order::Fortran);
        PrivateArray::map(self.view.owner(), bytemuck::cast_slice(elements), shape.into())
    }

    /// Returns element type, shape and order.
    pub fn info(&self) -> ArrayInfo {
        ArrayInfo::new(DType::of::<T>(), self.view.shape(), self.order)
    }

    /// Returns how many bytes the elements take, without the header that they have in the arena.
    pub fn nbytes(&self) -> u64 {
        (self.view.len() * size_of::<T>()) as u64
    }
}

impl<T: ArrayElement> Array<T, Ix1> {
    /// Bare elements without a header: a column of a batch.
    pub(crate) fn from_values(name: &str, values: Lent) -> Result<Array<T, Ix1>> {
        let view = KeptView::new(values, |bytes| match bytemuck::checked::try_cast_slice::<u8, T>(bytes) {
            Ok(values) => Ok(ArrayView::from(values)),
            Err(why) => Err(Error::damaged(format!("`{name}` is no array of {}: {why}", DType::of::<T>()))),
        })?;
        Ok(Array { view, order: Order::C })
    }
}

impl<T: ArrayElement, D: Dimension> Deref for Array<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: ArrayElement, D: Dimension> Clone for Array<T, D> {
    fn clone(&self) -> Self {
        Array { view: self.view.clone(), order: self.order }
    }
}

impl<T: ArrayElement, D: Dimension> fmt::Debug for Array<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// An array that is written where it will be read, without its memory.
#[derive(Debug)]
pub(crate) struct ArrayDraftLayout<T, D: Dimension> {
    shape: StrideShape<D>,
    /// Where the elements start.
    data_at: usize,
    /// Of the elements alone.
    bytes: u64,
    element: std::marker::PhantomData<T>,
}

impl<T: ArrayElement, D: Dimension> ArrayDraftLayout<T, D> {
    pub(crate) fn new(shape: impl Into<StrideShape<D>>) -> Result<Self> {
        let shape = shape.into();
        // The size is the same for both orders; the order shows once there is memory.
        let dtype = DType::of::<T>();
        let bytes = data_bytes(&dtype, shape.raw_dim().slice())?;
        let data_at = data_at(&dtype, shape.raw_dim().ndim());
        Ok(ArrayDraftLayout { shape, data_at, bytes, element: std::marker::PhantomData })
    }

    /// Bytes of the object.
    pub(crate) fn bytes(&self) -> u64 {
        self.data_at as u64 + self.bytes
    }

    /// Writes the header and makes the memory fit for [`ArrayDraftLayout::view_mut`]; call it once,
    /// first. Numbers start as whatever the memory held, other elements as zeros. Returns how many elements there are.
    pub(crate) fn prepare(&self, out: &mut [u8]) -> Result<u64> {
        let (data, tail) = out[self.data_at..].split_at_mut(self.bytes as usize);
        tail.fill(0);
        // What not all bytes are values of; zeros are one of each type that `ArrayElement` is implemented for in practice.
        if DType::of::<T>().element().is_none_or(|element| element == ElementType::Bool) {
            data.fill(0);
        }
        let view = self.view_mut(out)?;
        let elements = view.len() as u64;
        let order = if view.is_standard_layout() {
            Order::C
        } else if view.t().is_standard_layout() {
            Order::Fortran
        } else {
            return Err(Error::invalid(
                "an array draft with custom strides cannot be stored: ask for C order (the shape alone) or Fortran order (shape.f())",
            ));
        };
        write_header(out, &DType::of::<T>(), self.shape.raw_dim().slice(), order, self.bytes);
        Ok(elements)
    }

    /// The elements, to be written.
    pub(crate) fn view_mut<'a>(&self, out: &'a mut [u8]) -> Result<ArrayViewMut<'a, T, D>> {
        let (at, len) = (self.data_at, self.bytes as usize);
        let have = out.len();
        let data = out.get_mut(at..).and_then(|b| b.get_mut(..len)).ok_or_else(|| {
            Error::damaged(format!("an array draft of {len} bytes at {at} lies in an object of {have}"))
        })?;
        let values: &mut [T] = bytemuck::checked::try_cast_slice_mut(data)
            .map_err(|e| Error::damaged(format!("the memory of an array draft is no {}: {e}", DType::of::<T>())))?;
        ArrayViewMut::from_shape(self.shape.clone(), values)
            .map_err(|e| Error::invalid(format!("an array draft of shape {:?}: {e}", self.shape.raw_dim())))
    }
}

#[cfg(test)]
mod tests {
    use arrow_buffer::{Buffer, MutableBuffer};
    use ndarray::{Array as Owned, Array1, Array2, Array3, Ix0, Ix1, Ix2, Ix3, IxDyn, arr0, s};

    use super::*;
    use crate::value::dynamic::DynArrayView;

    impl<T: ArrayElement, D: Dimension> Array<T, D> {
        fn from_buffer(name: &str, bytes: Buffer) -> Result<Array<T, D>> {
            Array::from_lent(name, bytes.into())
        }
    }

    /// The object that a view becomes, in aligned memory that held something else.
    fn store<'a>(view: impl Into<DynArrayView<'a>>) -> Buffer {
        let view = view.into();
        let mut memory = MutableBuffer::from_len_zeroed(view.bytes().unwrap() as usize + 70);
        memory.fill(0xaa);
        view.write(&mut memory, &|to, from| to.copy_from_slice(from)).unwrap();
        memory.into()
    }

    fn assert_round_trip<T: ArrayElement + PartialEq, D: Dimension>(view: ArrayView<'_, T, D>) -> Array<T, D> {
        let object = store(view.clone());
        let back = Array::<T, D>::from_buffer("x", object.clone()).unwrap();
        assert_eq!(back.view(), view);
        assert_eq!(back.nbytes(), (view.len() * size_of::<T>()) as u64);
        let (start, end) = (object.as_ptr() as usize, object.as_ptr() as usize + object.len());
        assert!(back.is_empty() || (start..end).contains(&(back.as_ptr() as usize)));
        assert!(object[back.info().object_bytes().unwrap() as usize..].iter().all(|&b| b == 0));
        let any = Array::<T, IxDyn>::from_buffer("x", object).unwrap();
        assert_eq!(any.view(), view.into_dyn());
        back
    }

    fn cube() -> Array3<i32> {
        Owned::from_shape_fn((4, 5, 6), |(i, j, k)| (100 * i + 10 * j + k) as i32)
    }

    #[test]
    fn every_element_type_round_trips() {
        assert_round_trip(Array1::<u8>::from_iter(0..9).view());
        assert_round_trip(Array1::<u16>::from_iter(0..9).view());
        assert_round_trip(Array1::<u32>::from_iter(0..9).view());
        assert_round_trip(Array1::<u64>::from_iter(0..9).view());
        assert_round_trip(Array1::<u128>::from_iter(0..9).view());
        assert_round_trip(Array1::<i8>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i16>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i32>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i64>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i128>::from_iter(-4..9).view());
        assert_round_trip(Array1::<f32>::linspace(0., 1., 7).view());
        assert_round_trip(Array1::<f64>::linspace(0., 1., 7).view());
        assert_round_trip(Array1::from(vec![true, false, true]).view());
        #[cfg(feature = "f16")]
        assert_round_trip(Array1::from(vec![half::f16::ONE, half::f16::PI]).view());
        #[cfg(feature = "complex")]
        {
            use num_complex::Complex;
            assert_round_trip(Array1::from(vec![Complex::new(1_f32, 2.), Complex::new(3., 4.)]).view());
            assert_round_trip(Array1::from(vec![Complex::new(1_f64, 2.), Complex::new(3., 4.)]).view());
        }
    }

    #[test]
    fn every_order_and_stride_round_trips() {
        let a = cube();
        assert_eq!(assert_round_trip(a.view()).info().order, Order::C);
        assert_eq!(assert_round_trip(a.t()).info().order, Order::Fortran);
        assert_eq!(assert_round_trip(a.slice(s![..;2, 1..;2, ..])).info().order, Order::C);
        assert_round_trip(a.slice(s![..;-1, .., ..;-1]));
        assert_round_trip(a.slice(s![.., .., ..;-3]));
        assert_round_trip(a.slice(s![1.., 2.., 3..]));
        assert_round_trip(a.view().permuted_axes([1, 0, 2]));
        assert_round_trip(a.slice(s![2, .., 3]));
        assert_round_trip(a.slice(s![.., 5.., ..]));
        assert_round_trip(arr0(7.5_f64).view());
        let row = Array1::<f32>::from(vec![1., 2., 3.]);
        assert_round_trip(row.broadcast((4, 3)).unwrap());
        assert_round_trip(arr0(3_u8).broadcast((9, 1, 5)).unwrap());
        assert_round_trip(Array2::<f64>::zeros((0, 5)).view());
        assert_round_trip(Array2::<f64>::zeros((3, 4).f()).view());
        assert_round_trip(a.into_dyn().view());
    }

    #[test]
    fn a_strided_view_is_gathered_in_one_pass() {
        let a = cube();
        let copied = std::cell::Cell::new(0);
        let view = DynArrayView::from(a.slice(s![.., 1..3, ..]));
        let mut out = vec![0; view.bytes().unwrap() as usize];
        view.write(&mut out, &|to, from| {
            copied.set(copied.get() + from.len());
            to.copy_from_slice(from);
        })
        .unwrap();
        assert_eq!(copied.get(), 4 * 2 * 6 * 4);
    }

    #[test]
    fn a_view_larger_than_memory_is_refused() {
        let one = arr0(1_u64);
        let view = DynArrayView::from(one.broadcast((1 << 31, 1 << 31)).unwrap());
        assert!(matches!(view.bytes(), Err(Error::Invalid(_))));
        let many = vec![1; 33];
        let view = DynArrayView::from(one.broadcast(IxDyn(&many)).unwrap());
        let message = view.bytes().unwrap_err().to_string();
        assert!(message.contains("33 axes"), "{message}");
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let object = store(Array2::<f32>::zeros((3, 4)).view());
        let message = Array::<f64, Ix2>::from_buffer("weights", object.clone()).unwrap_err().to_string();
        assert_eq!(message, "`weights` is an array of f32, 2 axes (shape [3, 4]), not an array of f64, 2 axes");
        let message = Array::<f32, Ix1>::from_buffer("weights", object.clone()).unwrap_err().to_string();
        assert!(message.ends_with("not an array of f32, 1 axis"), "{message}");
        assert!(Array::<f32, Ix0>::from_buffer("weights", object).is_err());
    }

    #[test]
    fn an_array_keeps_its_memory() {
        let object = store(cube().view());
        let array = Array::<i32, Ix3>::from_buffer("x", object.clone()).unwrap();
        let clone = array.clone();
        assert_eq!(object.strong_count(), 2);
        drop(array);
        let sum = std::thread::spawn(move || clone.sum()).join().unwrap();
        assert_eq!(sum, cube().sum());
        assert_eq!(object.strong_count(), 1);
    }

    #[test]
    fn damaged_headers_never_panic() {
        let object = store(cube().view()).to_vec();
        let mut seed = 5_u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut refused = 0;
        for round in 0..50_000 {
            let mut bytes = object[..random(object.len() as u64 + 1) as usize].to_vec();
            if round % 2 == 0 {
                bytes = object.clone();
            }
            if !bytes.is_empty() {
                for _ in 0..=random(3) {
                    let bit = random(8 * bytes.len().min(64) as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            match ArrayInfo::parse(&bytes) {
                Err(_) => refused += 1,
                Ok(info) => assert!(info.object_bytes().unwrap() <= bytes.len() as u64),
            }
            let mut memory = MutableBuffer::from_len_zeroed(bytes.len());
            memory.copy_from_slice(&bytes);
            let buffer = Buffer::from(memory);
            let _ = Array::<i32, Ix3>::from_buffer("x", buffer.clone());
            let _ = Array::<bool, IxDyn>::from_buffer("x", buffer);
        }
        assert!(refused > 40_000, "{refused}");
    }

    #[test]
    fn bools_that_are_none_are_refused() {
        let object = store(Array1::from(vec![true, false]).view());
        let mut memory = MutableBuffer::from_len_zeroed(object.len());
        memory.copy_from_slice(&object);
        memory[64] = 2;
        assert!(matches!(Array::<bool, Ix1>::from_buffer("x", memory.into()), Err(Error::Damaged(_))));
    }

    fn draft<T: ArrayElement + PartialEq, D: Dimension>(
        shape: impl Into<StrideShape<D>>,
    ) -> Result<(ArrayDraftLayout<T, D>, MutableBuffer)> {
        let draft = ArrayDraftLayout::<T, D>::new(shape)?;
        let mut memory = MutableBuffer::from_len_zeroed(draft.bytes() as usize);
        memory.fill(0xaa);
        draft.prepare(&mut memory)?;
        Ok((draft, memory))
    }

    #[test]
    fn a_draft_is_written_in_place_in_both_orders() {
        let (layout, mut memory) = draft::<f64, Ix2>((3, 4)).unwrap();
        layout.view_mut(&mut memory).unwrap()[[2, 1]] = 7.;
        let array = Array::<f64, Ix2>::from_buffer("x", memory.into()).unwrap();
        assert_eq!(array[[2, 1]], 7.);
        assert!(array.is_standard_layout());

        let (layout, mut memory) = draft::<f64, Ix2>((3, 4).f()).unwrap();
        layout.view_mut(&mut memory).unwrap().assign(&Array2::from_shape_fn((3, 4), |(i, j)| (10 * i + j) as f64));
        let array = Array::<f64, Ix2>::from_buffer("x", memory.into()).unwrap();
        assert!(array.t().is_standard_layout() && array.info().order == Order::Fortran);
        assert_eq!(array[[2, 1]], 21.);

        let (_, memory) = draft::<bool, Ix1>(5).unwrap();
        assert_eq!(Array::<bool, Ix1>::from_buffer("x", memory.into()).unwrap().to_vec(), [false; 5]);
    }

    #[test]
    fn a_draft_with_strides_of_its_own_is_refused() {
        let message = draft::<f32, Ix2>((2, 3).strides((1, 7))).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("draft"), "{message}");
    }
}
