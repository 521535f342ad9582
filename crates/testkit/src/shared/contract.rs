/// Makes three tests of one function, which is written once, takes a [`Topology`](crate::shared::Topology) and is
/// called with each: `one_server`, `sentinel` and `cluster`, in a module of the function's name.
///
/// What can't hold somewhere by its nature is excepted there, with the reason. Its test is ignored then, so that those
/// who count tests name it. The caller needs tokio with its macros; `threads` gives the test two of them.
///
/// ```
/// use russet_testkit::{contract, shared::Topology};
///
/// contract!(a_value_is_found);
/// async fn a_value_is_found(at: Topology) {
/// #     let _ = at;
/// }
///
/// contract!(threads, many_are_found, except cluster "they have many slots");
/// async fn many_are_found(at: Topology) {
/// #     let _ = at;
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! contract {
    (threads, $name:ident $(, except $($except:tt)+)?) => {
        $crate::contract!(
            @module [::tokio::test(flavor = "multi_thread", worker_threads = 2)] $name $($($except)+)?
        );
    };
    ($name:ident $(, except $($except:tt)+)?) => {
        $crate::contract!(@module [::tokio::test] $name $($($except)+)?);
    };
    (@module [$($test:tt)+] $name:ident) => {
        mod $name {
            $crate::contract!(@test [$($test)+] $name one_server Server);
            $crate::contract!(@test [$($test)+] $name sentinel Sentinel);
            $crate::contract!(@test [$($test)+] $name cluster Cluster);
        }
    };
    (@module [$($test:tt)+] $name:ident one_server $why:literal) => {
        mod $name {
            $crate::contract!(@except one_server $why);
            $crate::contract!(@test [$($test)+] $name sentinel Sentinel);
            $crate::contract!(@test [$($test)+] $name cluster Cluster);
        }
    };
    (@module [$($test:tt)+] $name:ident sentinel $why:literal) => {
        mod $name {
            $crate::contract!(@test [$($test)+] $name one_server Server);
            $crate::contract!(@except sentinel $why);
            $crate::contract!(@test [$($test)+] $name cluster Cluster);
        }
    };
    (@module [$($test:tt)+] $name:ident cluster $why:literal) => {
        mod $name {
            $crate::contract!(@test [$($test)+] $name one_server Server);
            $crate::contract!(@test [$($test)+] $name sentinel Sentinel);
            $crate::contract!(@except cluster $why);
        }
    };
    (@test [$($test:tt)+] $name:ident $topology:ident $variant:ident) => {
        #[$($test)+]
        async fn $topology() {
            super::$name($crate::shared::Topology::$variant).await;
        }
    };
    (@except $topology:ident $why:literal) => {
        #[test]
        #[ignore = $why]
        fn $topology() {
            panic!("excepted: {}", $why);
        }
    };
}
