"""The house as a whole: its modules import each other in one direction."""

import graphlib

import grimp

PACKAGES = ("station", "drivers", "models", "retraining", "calibration", "deploy", "simulation")


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions and those for type checking alone count too."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    order = graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    try:
        order.prepare()
    except graphlib.CycleError as found:
        raise AssertionError(f"import each other: {' <- '.join(found.args[1])}") from None
