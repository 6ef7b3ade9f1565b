"""Every variable of the roles is documented in meta/argument_specs.yml and where its default stands, and both agree."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLES = Path(__file__).parents[2] / "roles"
EACH_ROLE = pytest.mark.parametrize("role", ["apache", "haproxy", "lab", "reachable", "session_guard"])
WITHOUT_DEFAULT = {
    "apache_address": "only the inventory knows it; the haproxy role reads it, the apache role does not",
    "haproxy_peer_address": "only the inventory knows it; ansible_host is often another network's",
    "haproxy_verify_token": "a secret; a default would be none",
}
# What stands below another variable and is explained by that one's comment.
EXPLAINED_BY = {
    "haproxy_frontends": "haproxy_defaults",
    "haproxy_backends": "haproxy_defaults",
    "haproxy_listens": "haproxy_defaults",
}


def load(role: str, file: str) -> dict[str, Any]:
    """Gives one YAML file of a role."""
    loaded = yaml.safe_load((ROLES / role / file).read_text())
    assert isinstance(loaded, dict)
    return loaded


def internal(role: str) -> dict[str, Any]:
    """Gives the variables of a role that are not for its users."""
    files = sorted((ROLES / role / "vars").rglob("*.yml"))
    return {name: value for file in files for name, value in load(role, str(file.relative_to(ROLES / role))).items()}


def options(role: str) -> dict[str, Any]:
    """Gives the options of the role's argument spec."""
    found = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert isinstance(found, dict)
    return found


def nested(prefix: str, found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives every option with its path, also those within options."""
    for name, option in found.items():
        yield prefix + name, option
        yield from nested(f"{prefix}{name}.", option.get("options", {}))


def is_simple(value: object) -> bool:
    """Whether a default is a literal short enough to be repeated in the argument spec."""
    if isinstance(value, list):
        return all(isinstance(item, str) and " " not in item for item in value)
    return not isinstance(value, dict) and not is_template(value)


def is_template(value: object) -> bool:
    """Whether a default is worked out when it is used."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


@EACH_ROLE
def test_defaults_and_argument_spec_have_the_same_variables(role: str) -> None:
    assert {*load(role, "defaults/main.yml"), *WITHOUT_DEFAULT} == {*options(role), *WITHOUT_DEFAULT}


def test_variables_without_default_are_in_the_argument_spec_alone() -> None:
    for name in WITHOUT_DEFAULT:
        role = name.split("_")[0]
        assert name in options(role)
        assert name not in load(role, "defaults/main.yml")
        assert "default" not in options(role)[name]


@EACH_ROLE
def test_literal_defaults_agree_with_the_argument_spec(role: str) -> None:
    simple = {name: value for name, value in load(role, "defaults/main.yml").items() if is_simple(value)}
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert specified == simple


@EACH_ROLE
def test_defaults_are_of_the_type_of_the_argument_spec(role: str) -> None:
    types = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict}
    defaults = {name: value for name, value in load(role, "defaults/main.yml").items() if not is_template(value)}
    assert defaults
    for name, value in defaults.items():
        assert type(value) is types[options(role)[name]["type"]], name


@EACH_ROLE
def test_every_option_has_a_description_and_a_type(role: str) -> None:
    found = list(nested("", options(role)))
    assert found
    assert [name for name, option in found if not (option.get("description") and option.get("type"))] == []


@EACH_ROLE
def test_every_variable_of_a_role_begins_with_its_name(role: str) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []
    assert [name for name in internal(role) if not name.startswith(f"__{role}_")] == []


@EACH_ROLE
def test_every_default_has_a_comment_above_it(role: str) -> None:
    rows = (ROLES / role / "defaults/main.yml").read_text().splitlines()
    bare = []
    for name in load(role, "defaults/main.yml"):
        above = rows[next(i for i, row in enumerate(rows) if row.startswith(f"{name}:")) - 1]
        if not above.startswith("# ") and name not in EXPLAINED_BY:
            bare.append(name)
    assert bare == []


def test_what_explains_others_is_in_the_same_file_before_them() -> None:
    names = list(load("haproxy", "defaults/main.yml"))
    assert [name for name, by in EXPLAINED_BY.items() if names.index(by) > names.index(name)] == []


def test_both_roles_know_the_same_demo() -> None:
    def demo(role: str, variable: str) -> list[dict[str, Any]]:
        return list(ast.literal_eval(jinja2.Template(load(role, "defaults/main.yml")[variable]).render()))

    keys = ("name", "port", "page")
    served = [{key: vhost[key] for key in keys} for vhost in demo("apache", "apache_vhosts")]
    assert served == demo("haproxy", "haproxy_web_vhosts")
    assert [vhost["page"] for vhost in served] == [f"Backend {n}" for n in range(1, 8)]


@pytest.mark.parametrize("section", ["haproxy_defaults", "haproxy_frontends", "haproxy_backends", "haproxy_listens"])
def test_keywords_and_argument_spec_know_the_same_keys(section: str) -> None:
    keywords = internal("haproxy")["__haproxy_keywords"]
    assert sorted(set(options("haproxy")[section]["options"]) - {"name", "lines", "server"}) == sorted(keywords)


def test_underscored_keywords_are_keywords() -> None:
    assert set(internal("haproxy")["__haproxy_underscored"]) <= set(internal("haproxy")["__haproxy_keywords"])
