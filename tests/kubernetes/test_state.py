"""The state in a ConfigMap: people edit it, several scalers write it, and nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from scaler.kube.api import KubeApi
from scaler.kube.config_map_store import LEARNED, ConfigMapStore
from scaler.model import Override
from scaler.state.live import LiveState
from scaler.state.model import Action, State, StateError, with_action, with_override, with_pause
from scaler.state.store import StoreError, Update
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, STATE, KubeApiOf
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without

OVERRIDE = Override(5, "a launch", "ada", 1000.0, None)


@pytest.fixture
def store(api: KubeApi) -> ConfigMapStore:
    return ConfigMapStore(api, STATE)


def overridden(state: State) -> State:
    return replace(state, operator=with_override(state.operator, "mail", OVERRIDE))


def test_an_empty_one_is_an_empty_state(store: ConfigMapStore) -> None:
    assert store.read() == (State(), [])


def test_what_was_written_is_read_again(store: ConfigMapStore, admin: Admin) -> None:
    action = Action(1.0, "mail", 2, 5, "burst")
    written = replace(with_action(overridden(State()), action), learned={"mail": {"rate": 3.5}})
    assert store.update(lambda _: written).after == written
    assert store.read() == (written, [])
    data = admin.config_map(STATE)
    assert json.loads(data["data"]["overrides"])["mail"]["reason"] == "a launch"
    assert LEARNED in data["binaryData"]
    assert set(data["data"]) == {"overrides", "actions"}, "what nobody set is not there"


def test_an_edit_by_hand_counts(store: ConfigMapStore, admin: Admin) -> None:
    admin.edit_config_map(STATE, {"paused": '["mail"]', "enabled": "false"})
    state, problems = store.read()
    assert (state.operator.paused, state.operator.enabled, problems) == (frozenset({"mail"}), False, [])


class Interrupted(ConfigMapStore):
    """Somebody edits it as soon as a change is written."""

    admin: Admin

    def update(self, update: Callable[[State], State], *, gone: State | None = None) -> Update:
        done = super().update(update, gone=gone)
        self.admin.edit_config_map(STATE, {"paused": '["mail"]'})
        return done


def test_an_edit_just_after_the_scaler_saved_is_read(api: KubeApi, admin: Admin) -> None:
    store = Interrupted(api, STATE)
    store.admin = admin
    live_state = LiveState(store)
    live_state.record_action("mail", 1.0, 2, 3, "burst")
    live_state.save(dict)
    live_state.refresh()
    assert live_state.control("mail", 0.0).paused


def test_an_invalid_edit_is_reported_and_kept_and_does_not_block_others(
    store: ConfigMapStore, admin: Admin
) -> None:
    edits = {
        "overrides": '{"mail": {"workers": "many"}}',
        "paused": '["video"',
        "policies": '{"mail": {"max_workers": 4}}',
    }
    admin.edit_config_map(STATE, edits)
    state, problems = store.read()
    assert [problem.partition(":")[0] for problem in problems] == ["paused", "overrides.mail"]
    assert state.operator.policies == {"mail": {"max_workers": 4}}
    video = Override(3, "why", "ada", 1.0, None)
    store.update(lambda state: replace(state, operator=with_override(state.operator, "video", video)))
    store.update(lambda state: with_action(state, Action(1.0, "mail", 2, 5, "burst")))
    data = admin.config_map(STATE)["data"]
    assert data["paused"] == edits["paused"]
    assert json.loads(data["overrides"])["mail"] == {"workers": "many"}
    assert json.loads(data["overrides"])["video"]["workers"] == 3


def test_a_change_that_would_overwrite_an_invalid_edit_is_refused(
    store: ConfigMapStore, admin: Admin
) -> None:
    admin.edit_config_map(STATE, {"paused": '["video"'})
    with pytest.raises(StateError, match="paused: invalid JSON"):
        store.update(lambda state: replace(state, operator=with_pause(state.operator, "mail", paused=True)))
    assert admin.config_map(STATE)["data"]["paused"] == '["video"'


def test_an_edit_between_reading_and_writing_is_not_lost(store: ConfigMapStore, admin: Admin) -> None:
    tries = 0

    def change(state: State) -> State:
        nonlocal tries
        tries += 1
        if tries == 1:
            admin.edit_config_map(STATE, {"paused": '["video"]'})
        return overridden(state)

    changed = store.update(change).after
    assert tries == 2
    assert changed.operator.paused == {"video"}
    assert store.read()[0].operator == changed.operator


def test_conflict_after_conflict_is_an_error(store: ConfigMapStore, admin: Admin) -> None:
    count = 0

    def change(state: State) -> State:
        nonlocal count
        count += 1
        admin.edit_config_map(STATE, {"paused": f'["video{count}"]'})
        return overridden(state)

    with pytest.raises(StoreError, match="changes faster"):
        store.update(change)


def test_learned_values_without_room_are_left_out_and_the_rest_is_kept(
    store: ConfigMapStore, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    import random

    numbers = random.Random(1)
    much = {f"t{i}": {"x": [numbers.random() for _ in range(100)]} for i in range(1000)}
    store.update(lambda state: replace(overridden(state), learned=much))
    config_map = admin.config_map(STATE)
    assert "overrides" in config_map["data"]
    assert LEARNED not in config_map.get("binaryData", {})
    assert "learned state too large to save" in caplog.text


def test_invalid_learned_data_is_learned_again(store: ConfigMapStore, admin: Admin) -> None:
    path = f"/api/v1/namespaces/{admin.namespace}/configmaps/{STATE}"
    invalid = {"binaryData": {LEARNED: "AAAA"}}
    admin.ask("PATCH", path, invalid, "application/merge-patch+json")
    assert store.read() == (State(), [f"{LEARNED}: invalid data"])
    store.update(lambda state: replace(state, learned={"mail": {"rate": 1.0}}))
    assert store.read()[0].learned == {"mail": {"rate": 1.0}}


# --- the live state over it---------------------------------------------------------------------------------


def test_a_state_that_cannot_be_read_is_unknown_until_it_can(
    store: ConfigMapStore, admin: Admin, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    admin.edit_config_map(STATE, {"paused": '["mail"]'})
    with front.fault("GET .*/configmaps", "status", status=503):
        live_state = LiveState(store, store_may_be_unreachable=True)
        live_state.refresh()
        assert not live_state.loaded
        live_state.save(dict, at_once=True)
    assert ["503" in record.__dict__["error"] for record in caplog.records] == [True], "it is logged once"
    live_state.refresh()
    assert live_state.loaded
    assert live_state.operator.paused == {"mail"}


@pytest.mark.fault
def test_a_part_that_cannot_be_read_at_a_start_holds_until_somebody_decides(
    store: ConfigMapStore, admin: Admin
) -> None:
    store.update(overridden)
    admin.edit_config_map(STATE, {"paused": '["video"'})
    live_state = LiveState(store, store_may_be_unreachable=True)
    assert "paused: invalid JSON" in live_state.why_held
    assert live_state.control("text", 0.0).paused
    discarded = store.discard()
    assert discarded is not None
    assert "paused.unusable" in discarded.kept_as
    live_state.refresh()
    assert (live_state.why_held, live_state.readable) == ("", True)
    assert live_state.control("mail", 2000.0).override == OVERRIDE
    assert not live_state.control("text", 0.0).paused
    assert admin.config_map(STATE)["data"]["paused.unusable"] == '["video"'
    assert store.discard() is None


@pytest.mark.fault
def test_orders_outlive_the_deletion_of_their_config_map(store: ConfigMapStore, admin: Admin) -> None:
    store.update(overridden)
    live_state = LiveState(store, store_may_be_unreachable=True)
    live_state.refresh()
    assert live_state.control("mail", 2000.0).override == OVERRIDE
    admin.delete_config_map(STATE)
    live_state.refresh()
    assert live_state.control("mail", 2000.0).override == OVERRIDE
    live_state.save(dict)
    assert store.read()[0].operator.overrides == {"mail": OVERRIDE}


def test_without_permission_there_is_an_error(store: ConfigMapStore, admin: Admin) -> None:
    admin.rules(ACCOUNT, without(RULES, "configmaps"))
    with pytest.raises(StoreError, match="403 Forbidden"):
        store.version()


def test_two_live_states_read_each_others_changes(api_of: KubeApiOf) -> None:
    writer, reader = (
        LiveState(ConfigMapStore(api_of(), STATE), store_may_be_unreachable=True) for _ in range(2)
    )
    writer.record_action("mail", 1.0, 2, 5, "burst")
    writer.save(dict)
    reader.refresh()
    assert [action.new for action in reader.actions] == [5]
    assert writer.actions == reader.actions
