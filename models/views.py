"""The views that people query. They are made anew after every migration, so this file is their only definition."""

from __future__ import annotations

from sqlalchemy import Connection, text

# {when:COLUMN} is the dialect's way to show seconds since 1970 as a date and time.
VIEWS: dict[str, str] = {
    "photos": """
        SELECT file.id AS file_id, file.path,
               coalesce(human.text, caption.text) AS caption,
               CASE WHEN human.text IS NOT NULL THEN 'human' WHEN caption.id IS NOT NULL THEN 'model' END AS source,
               recipe.model, caption.score, caption.flag, image.width, image.height, image.format,
               file.image_id, caption.id AS caption_id,
               {when:coalesce(CASE WHEN human.text IS NOT NULL THEN human.created_at END, caption.created_at)}
                 AS created_at
          FROM file
          LEFT JOIN image ON image.id = file.image_id
          LEFT JOIN edit AS human ON human.id = (SELECT max(e.id) FROM edit AS e WHERE e.image_id = file.image_id)
          LEFT JOIN caption ON caption.id = (
               SELECT c.id FROM caption AS c JOIN recipe AS r ON r.id = c.recipe_id
                      LEFT JOIN alias AS a ON a.weights = r.weights
                WHERE c.image_id = file.image_id
                ORDER BY a.created_at IS NULL, a.created_at DESC, c.id DESC LIMIT 1)
          LEFT JOIN recipe ON recipe.id = caption.recipe_id
         WHERE file.path NOT LIKE 'upload:%'
    """,
    "results": """
        SELECT file.path, coalesce(human.text, caption.text) AS caption, caption.score, recipe.model, recipe.prompt,
               CASE WHEN human.text IS NOT NULL THEN 'human' ELSE 'model' END AS source,
               (SELECT max(item.job_id) FROM item JOIN job ON job.id = item.job_id
                 WHERE item.file_id = file.id AND job.recipe_id = caption.recipe_id) AS job,
               {when:caption.created_at} AS created_at,
               caption.text AS model_caption, caption.flag, caption.precision, worker.name AS worker, worker.device,
               recipe.weights, recipe.num_beams, caption.id AS caption_id, caption.recipe_id, caption.image_id,
               file.id AS file_id
          FROM caption
          JOIN recipe ON recipe.id = caption.recipe_id
          JOIN file ON file.image_id = caption.image_id
          LEFT JOIN worker ON worker.id = caption.worker_id
          LEFT JOIN edit AS human ON human.id = (SELECT max(e.id) FROM edit AS e WHERE e.image_id = caption.image_id)
         WHERE file.path NOT LIKE 'upload:%'
    """,
    "failures": """
        SELECT file.path, failure.kind, failure.message, failure.attempts, failure.job_id AS job,
               {when:failure.created_at} AS created_at, file.id AS file_id
          FROM failure JOIN file ON file.id = failure.file_id
    """,
    "jobs": """
        SELECT job.id, job.kind, job.state, job.source, job.model, job.priority, job.total, job.skipped,
               coalesce(sum(unit.done), 0) AS done, coalesce(sum(unit.failed), 0) AS failed,
               coalesce(sum(CASE WHEN unit.state IN ('queued', 'running')
                                  AND job.state IN ('scanning', 'queued', 'running')
                                 THEN unit.pictures - unit.done - unit.failed END), 0) AS remaining,
               job.note, {when:job.created_at} AS created_at, {when:job.started_at} AS started_at,
               {when:job.ended_at} AS ended_at, job.recipe_id
          FROM job LEFT JOIN unit ON unit.job_id = job.id
         GROUP BY job.id
    """,
    "training_curve": """
        SELECT loss.run_id AS run, loss.step, loss.epoch, loss.loss, loss.unsmoothed, loss.learning_rate,
               loss.grad_norm, epoch.validation_loss, {when:loss.created_at} AS created_at
          FROM loss LEFT JOIN epoch ON epoch.run_id = loss.run_id AND epoch.step = loss.step
    """,
    "leaderboard": """
        SELECT run.id AS run, run.base, run.data, job.state,
               (SELECT min(epoch.validation_loss) FROM epoch WHERE epoch.run_id = run.id) AS validation_loss,
               (SELECT checkpoint.step FROM checkpoint WHERE checkpoint.run_id = run.id AND checkpoint.is_best
                 ORDER BY checkpoint.step DESC LIMIT 1) AS best_step,
               {metric:BLEU-4} AS bleu_4, {metric:CIDEr-D} AS cider_d, {metric:ROUGE-L} AS rouge_l,
               {metric:METEOR} AS meteor,
               run.pictures, run.plan, {when:run.started_at} AS started_at, {when:run.ended_at} AS ended_at
          FROM run JOIN job ON job.id = run.job_id
    """,
}

_WHEN = {"sqlite": "datetime({}, 'unixepoch')", "postgresql": "to_timestamp({})"}
_METRIC = (
    "(SELECT evaluation.value FROM evaluation WHERE evaluation.run_id = run.id AND evaluation.metric = '{}'"
    " AND evaluation.model = 'run:' || run.id ORDER BY evaluation.id DESC LIMIT 1)"
)


def definition(name: str, dialect: str) -> str:
    """The SELECT behind a view, for 'sqlite' or 'postgresql'."""
    body = VIEWS[name]
    for tag, template in (("{when:", _WHEN[dialect]), ("{metric:", _METRIC)):
        head, *rest = body.split(tag)
        body = head + "".join(template.format(part.partition("}")[0]) + part.partition("}")[2] for part in rest)
    return body.strip()


def create_all(connection: Connection) -> None:
    """Make every view; none may exist."""
    for name in VIEWS:
        connection.execute(
            text(f"CREATE VIEW {name} AS {definition(name, connection.dialect.name)}".replace(":%", r"\:%"))
        )


def drop_all(connection: Connection) -> None:
    """Drop every view that exists."""
    for name in reversed(VIEWS):
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
