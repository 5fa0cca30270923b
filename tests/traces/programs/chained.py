def inner():
    return {}["missing"]


def outer():
    try:
        inner()
    except KeyError as error:
        raise RuntimeError("outer") from error


try:
    outer()
except RuntimeError:
    raise ValueError("while handling")
