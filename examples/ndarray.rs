//! n-dimensional arrays: any rank, any order, read as an owned value that derefs to `ndarray`.
//!
//! ```text
//! cargo run --example ndarray
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;

use faretra::{Arena, Array, Bundle, MIB};
use ndarray::{Array2, Array3, Axis, Ix1, Ix2, Ix3, ShapeBuilder, s};

fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("ndarray-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;

    // Three axes. What is published is a view, so a slice or a transposed array will do as well;
    // its elements are gathered on the way in, in one pass.
    let frames = Array3::from_shape_fn((4, 480, 640), |(t, y, x)| (t + y + x) as f32);
    writer.publish("frames", frames.view())?;
    writer.publish("corner", frames.slice(s![.., ..16, ..16]))?;

    // Reading takes the element type and the number of axes; others are errors that name both.
    let seen: Array<f32, Ix3> = arena.array("frames")?;
    let brightest = seen.axis_iter(Axis(0)).map(|frame| frame.sum()).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    println!("frames: shape {:?}, the brightest is {:?}", seen.shape(), brightest.map(|(t, _)| t));
    assert_eq!(seen.view(), frames.view());
    if let Err(error) = arena.array::<f64, Ix2>("frames") {
        println!("asked for something else: {error}");
    }

    // It is a value of its own: it may outlive the name, and another thread may have it.
    writer.remove("frames")?;
    let sum = std::thread::spawn(move || seen.sum()).join().map_err(|_| "the summing thread panicked")?;
    println!("sum over all frames, whose name is gone: {sum}");

    // Fortran order stays Fortran order.
    let columns = Array2::from_shape_fn((3, 2).f(), |(i, j)| (10 * i + j) as i64);
    writer.publish("columns", columns.view())?;
    println!("columns is stored {:?}", arena.get("columns")?.array_info()?);

    // Arrays that belong together: all of them appear at once, or none does.
    let weights = Array2::<f32>::ones((10, 4));
    let bias = ndarray::arr1(&[0.5_f32; 10]);
    writer.publish("layer", Bundle::new().with("weights", weights.view()).with("bias", bias.view()))?;
    let layer = arena.bundle("layer")?;
    let weights: Array<f32, Ix2> = layer.get("weights")?.try_into()?;
    let bias: Array<f32, Ix1> = layer.get("bias")?.try_into()?;
    println!("one step of the layer: {}", weights.dot(&ndarray::arr1(&[1.0_f32, 2.0, 3.0, 4.0])) + bias.view());
    Ok(())
}
