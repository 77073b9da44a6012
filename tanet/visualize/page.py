"""How wide a figure may be. A page makes a wider one smaller, and the words on it with it."""

PAGE = 10  # inches, with words of 8 points and more


def page_width(panels: int, each: float, beside: float) -> float:
    """Inches for `panels` side by side, `each` so wide, and what stands `beside` them; at most the width of a page."""
    return min(PAGE, panels * each + beside)
