//! The types that an array's elements, and the values of a column, may have.

use std::fmt;

mod sealed {
    pub trait Sealed {}
}

/// A type that the elements of an [`Array`](crate::Array) and the values of a [`Column`](crate::Column) may have.
///
/// Such a value is plain bytes, which mean the same in every process. The trait is implemented for the integers from
/// `u8` and `i8` to `u128` and `i128`, for `f32`, `f64` and `bool`; with the feature `f16` for `half::f16`; with the
/// feature `complex` for `num_complex::Complex` of `f32` and of `f64`. Other crates cannot implement it.
///
/// ```
/// use faretra::{Arena, Element, MIB, Result};
/// use ndarray::{Ix2, array};
///
/// /// Adds up an array of two axes, of any type that is a number.
/// fn sum<T: Element + Into<f64>>(arena: &Arena, name: &str) -> Result<f64> {
///     Ok(arena.array::<T, Ix2>(name)?.iter().map(|&value| value.into()).sum())
/// }
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-element-{}", std::process::id()))?;
/// let writer = arena.writer()?;
/// writer.publish("weights", array![[1.0_f32, 2.0], [3.0, 4.0]].view())?;
/// writer.publish("counts", array![[1_u8, 2], [3, 4]].view())?;
/// assert_eq!(sum::<f32>(&arena, "weights")?, sum::<u8>(&arena, "counts")?);
/// # Ok::<(), faretra::Error>(())
/// ```
pub trait Element:
    bytemuck::NoUninit + bytemuck::CheckedBitPattern + fmt::Debug + Send + Sync + sealed::Sealed + 'static
{
    /// The type as a value, which is what the arena stores of it.
    const TYPE: ElementType;
}

macro_rules! elements {
    ($( $(#[$gate:meta])* $variant:ident = $code:literal, $type:ty, $text:literal, $size:literal, $descr:literal; )*) => {
        /// The type of an array's elements as a value, for programs that learn it at run time.
        ///
        /// ```
        /// use faretra::{Element, ElementType};
        ///
        /// assert_eq!(f32::TYPE, ElementType::F32);
        /// assert_eq!((ElementType::F32.size(), ElementType::F32.name()), (4, "f32"));
        /// assert!(ElementType::ALL.contains(&ElementType::Complex128));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ElementType {
            $(
                #[doc = concat!("Elements of type `", $text, "`.")]
                $variant = $code,
            )*
        }

        impl ElementType {
            /// Every element type, also those whose feature is off: an arena may have arrays of them.
            pub const ALL: &[ElementType] = &[$(ElementType::$variant),*];

            /// The type that a stored code stands for, or `None` if there is no such code.
            pub(crate) fn from_code(code: u64) -> Option<ElementType> {
                match code {
                    $($code => Some(ElementType::$variant),)*
                    _ => None,
                }
            }

            /// Returns the size of one element, in bytes.
            pub const fn size(self) -> usize {
                match self {
                    $(ElementType::$variant => $size,)*
                }
            }

            /// Returns the name of the type: `f32`, `u8`, `complex64`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ElementType::$variant => $text,)*
                }
            }

            /// Returns the type as numpy writes it into the header of an `.npy` file: `<f4`, `|u1`. numpy has no
            /// 128-bit integers; for those, the text is `|V16`, 16 raw bytes.
            pub const fn numpy_descr(self) -> &'static str {
                match self {
                    $(ElementType::$variant => $descr,)*
                }
            }
        }

        $(
            $(#[$gate])*
            const _: () = assert!(size_of::<$type>() == $size);
            $(#[$gate])*
            impl sealed::Sealed for $type {}
            $(#[$gate])*
            impl Element for $type {
                const TYPE: ElementType = ElementType::$variant;
            }
        )*
    };
}

elements! {
    U8 = 1, u8, "u8", 1, "|u1";
    U16 = 2, u16, "u16", 2, "<u2";
    U32 = 3, u32, "u32", 4, "<u4";
    U64 = 4, u64, "u64", 8, "<u8";
    U128 = 5, u128, "u128", 16, "|V16";
    I8 = 6, i8, "i8", 1, "|i1";
    I16 = 7, i16, "i16", 2, "<i2";
    I32 = 8, i32, "i32", 4, "<i4";
    I64 = 9, i64, "i64", 8, "<i8";
    I128 = 10, i128, "i128", 16, "|V16";
    #[cfg(feature = "f16")]
    F16 = 11, half::f16, "f16", 2, "<f2";
    F32 = 12, f32, "f32", 4, "<f4";
    F64 = 13, f64, "f64", 8, "<f8";
    Bool = 14, bool, "bool", 1, "|b1";
    #[cfg(feature = "complex")]
    Complex64 = 15, num_complex::Complex<f32>, "complex64", 8, "<c8";
    #[cfg(feature = "complex")]
    Complex128 = 16, num_complex::Complex<f64>, "complex128", 16, "<c16";
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_told_apart() {
        for &e in ElementType::ALL {
            assert_eq!(ElementType::from_code(e as u64), Some(e));
            assert_eq!(ElementType::ALL.iter().filter(|o| o.name() == e.name()).count(), 1);
            assert!(e.numpy_descr().ends_with(&e.size().to_string()));
        }
        assert_eq!(ElementType::from_code(0), None);
        assert_eq!(ElementType::F32.to_string(), "f32");
        assert_eq!(ElementType::F32.numpy_descr(), "<f4");
    }
}
