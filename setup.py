"""Build Salam: the metadata is in pyproject.toml, this file only says where the packages are."""

from setuptools import find_packages, setup

# Every package is a top-level folder that is imported by its own name.
PACKAGES = ["salam", "e2ee", "turn_client", "sfu", "ingest", "transcode", "signaling", "bench", "salam_server", "web"]

setup(
    package_dir={"": "."},
    packages=find_packages(".", include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    package_data={
        **{name: ["py.typed"] for name in PACKAGES},
        "web": ["py.typed", "*.html", "*.json", "pages/**", "sdk/**", "ui/**", "style/**", "assets/**", "vendor/**"],
    },
)
