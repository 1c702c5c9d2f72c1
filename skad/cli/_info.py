"""``skad info``: what a model file holds."""


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments):
    """Print what the file says of itself; nothing is loaded."""
    import json

    from ..persistence import describe

    told = describe(arguments.model)
    if arguments.json:
        print(json.dumps(told))
        return 0
    print(f"{told['class']}, written by skad {told['skad']}")
    print("parameters:")
    for name, value in told["parameters"].items():
        print(f"  {name}: {value}")
    for network in told["networks"]:
        print(f"network {network['backbone']}, weights {network['weights']}: {network['digest']}")
        print(f"  terms of its published weights: {network.get('licence') or 'not known'}")
    print("libraries: " + ", ".join(f"{k} {v}" for k, v in told["libraries"].items()))
    for name, size in told["size"].items():
        print(f"  {size / 1e6:9.3f} MB  {name}")
    return 0
