"""# Train a model

By hand or through the API: name a folder of labelled pictures, or other labelled data that become one, and a recipe. The
new version is registered, and released if it is no worse than the one in force. If it is worse a person is asked, with
the reasons in front of them: releasing it all the same needs their words, which are kept with the version; otherwise the
run ends with the refusal. The evaluation and the noise report are pages below VAR_DIR; engines are tried on a released one.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, dag, task

from orchestration import defaults, params, pools, stages
from pipeline.settings import Settings

FORM = "pipeline.training.by_form"
RELEASE, LEAVE = "Release it all the same", "Leave the version in force"


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=1,
    params=params.training(Settings().recipes_dir),
    default_args=defaults.ARGS,
    tags=["training", "by-hand"],
    doc_md=__doc__,
)
def train_model() -> None:
    @task(queue="gpu")  # where it is needed: it lies below VAR_DIR
    def dataset(params=None, dag_run=None) -> str:  # noqa: ANN001
        return stages.call(f"{FORM}.dataset_of_form", form=params, run_id=dag_run.run_id, now=dag_run.run_after)

    @task(pool=pools.INFERENCE, queue="gpu")
    def noise(collection: str, params=None, dag_run=None) -> str:  # noqa: ANN001
        return stages.call(f"{FORM}.report_noise_of_form", collection=collection, form=params, run_id=dag_run.run_id)

    @task(pool=pools.INFERENCE, queue="gpu")
    def train(collection: str, params=None, dag_run=None) -> dict:  # noqa: ANN001
        return stages.call(f"{FORM}.train_from_form", collection=collection, form=params, now=dag_run.run_after)

    @task(pool=pools.INFERENCE, queue="gpu")
    def follow_up(collection: str, trained: dict, params=None) -> dict:  # noqa: ANN001
        return stages.call(f"{FORM}.follow_up", collection=collection, form=params, trained=trained)

    @task.short_circuit
    def refused(trained: dict) -> bool:
        return not trained["released"]

    ask = HITLOperator(
        task_id="ask",
        subject="Release version {{ ti.xcom_pull(task_ids='train')['version'] }} although it is worse?",
        body="{{ ti.xcom_pull(task_ids='train')['refusal'] }}",
        options=[LEAVE, RELEASE],
        defaults=LEAVE,
        params={"why": Param("", type="string", description="Why? It is kept with the version.")},
        response_timeout=timedelta(days=14),
    )

    @task
    def settle(trained: dict, answer: dict) -> str:
        from airflow.sdk.exceptions import AirflowFailException

        if RELEASE not in answer["chosen_options"]:
            raise AirflowFailException(trained["refusal"])
        return stages.call(f"{FORM}.overrule", trained=trained, answer=answer)

    collection = dataset()
    trained = train(collection)
    noise(collection) >> trained
    follow_up(collection, trained)
    refused(trained) >> ask >> settle(trained, ask.output)


train_model()
