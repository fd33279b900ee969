"""What a benchmark gives: rows of one table, each measured against a target."""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `better` says which side of `target` is good: "low" (at most) or "high" (at least). `measured`
    is None where this machine cannot show it; `note` then says why. `details` goes to the JSON
    only: the seconds, bytes or samples that the figure was made from.
    """

    what: str
    measured: float | None
    target: float
    unit: str = "x"
    better: str = "low"
    note: str = ""
    details: dict = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target holds to two decimals; None where nothing was measured."""
        if self.measured is None:
            return None
        measured = round(self.measured, 2)
        return measured <= self.target if self.better == "low" else measured >= self.target

    @classmethod
    def of_json(cls, values: dict) -> "Row":
        """From what `as_json` gave."""
        return cls(**{name: value for name, value in values.items() if name != "met"})

    def as_json(self) -> dict:
        """Everything, for the record."""
        return asdict(self) | {"met": self.met}


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | measured | target | met | note |", "|---|---|---|---|---|"]
    sign = {"low": "<=", "high": ">="}
    for row in rows:
        measured = "not measured" if row.measured is None else f"{row.measured:.3g} {row.unit}"
        met = {True: "yes", False: "no", None: ""}[row.met]
        lines.append(f"| {row.what} | {measured} | {sign[row.better]} {row.target:g} {row.unit} "
                     f"| {met} | {row.note} |")
    return "\n".join(lines)
