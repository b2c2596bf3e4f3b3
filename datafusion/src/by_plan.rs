//! Scans of tables whose plans need nothing that has to be waited for.

/// The method `scan` of a [`TableProvider`](datafusion::catalog::TableProvider) whose own method `plan` makes the plan at once.
///
/// As `#[async_trait]` writes it, but for the future, which is nothing yet to come: of one that keeps the filters the compiler would
/// show for all that can be in a plan, which takes seconds, that it may go to another thread.
#[doc(hidden)]
#[macro_export]
macro_rules! scan_by_plan {
    () => {
        fn scan<'a, 'b, 'c, 'd, 'f>(
            &'a self,
            state: &'b dyn $crate::datafusion::catalog::Session,
            projection: Option<&'c Vec<usize>>,
            filters: &'d [$crate::datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> ::std::pin::Pin<
            Box<
                dyn Future<
                        Output = $crate::datafusion::common::Result<
                            ::std::sync::Arc<dyn $crate::datafusion::physical_plan::ExecutionPlan>,
                        >,
                    > + Send
                    + 'f,
            >,
        >
        where
            'a: 'f,
            'b: 'f,
            'c: 'f,
            'd: 'f,
            Self: 'f,
        {
            Box::pin(::std::future::ready(self.plan(state, projection, filters, limit)))
        }
    };
}
