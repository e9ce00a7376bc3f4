"""The tasks of the pipeline: ``python training.py train``, then ``… validate --at-least 0.9``."""

from __future__ import annotations

import argparse

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from store import CANDIDATES, PRODUCTION


def petals() -> tuple:
    """Length and width of petals and the species, to learn from and, apart, to judge by."""
    flowers = load_iris()
    species = flowers.target_names[flowers.target]
    return train_test_split(
        flowers.data[:, 2:], species, test_size=0.3, stratify=species, random_state=0
    )


def train() -> None:
    """Saves a new candidate."""
    rows, _, species, _ = petals()
    version = (CANDIDATES.newest() or 0) + 1
    CANDIDATES.save(LogisticRegression().fit(rows, species), version)
    print(f"candidate {version} learned from {len(rows)} flowers")


def validate(at_least: float) -> None:
    """Puts the newest candidate into production, or fails."""
    version = CANDIDATES.newest()
    if version is None:
        raise SystemExit("there is no candidate: run the task 'train' first")
    model = CANDIDATES.load(version)
    _, rows, _, species = petals()
    accuracy = model.score(rows, species)
    print(f"candidate {version} is right about {accuracy:.1%} of {len(rows)} other flowers")
    if accuracy < at_least:
        raise SystemExit(f"that is less than {at_least:.1%}: it stays a candidate")
    PRODUCTION.save(model, version)
    print(f"version {version} is in production")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["train", "validate"])
    parser.add_argument("--at-least", type=float, default=0.9)
    arguments = parser.parse_args()
    train() if arguments.action == "train" else validate(arguments.at_least)
