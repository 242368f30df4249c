CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.alias (
    name text NOT NULL,
    model text NOT NULL,
    weights text NOT NULL,
    created_at double precision NOT NULL
);
CREATE TABLE public.batch_size (
    weights text NOT NULL,
    device text NOT NULL,
    num_beams integer NOT NULL,
    "precision" text NOT NULL,
    size integer NOT NULL,
    rate double precision,
    tried_at double precision NOT NULL
);
CREATE TABLE public.caption (
    id bigint NOT NULL,
    image_id bigint NOT NULL,
    recipe_id bigint NOT NULL,
    text text NOT NULL,
    score double precision,
    flag text,
    worker_id bigint,
    "precision" text,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.caption_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.caption_id_seq OWNED BY public.caption.id;
CREATE TABLE public.checkpoint (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    step integer NOT NULL,
    path text NOT NULL,
    sha256 bytea NOT NULL,
    is_best boolean NOT NULL,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.checkpoint_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.checkpoint_id_seq OWNED BY public.checkpoint.id;
CREATE TABLE public.edit (
    id bigint NOT NULL,
    image_id bigint NOT NULL,
    recipe_id bigint,
    text text,
    author text NOT NULL,
    batch text,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.edit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.edit_id_seq OWNED BY public.edit.id;
CREATE TABLE public.epoch (
    run_id bigint NOT NULL,
    epoch integer NOT NULL,
    step integer NOT NULL,
    loss double precision NOT NULL,
    validation_loss double precision,
    metrics text,
    seconds double precision NOT NULL,
    created_at double precision NOT NULL
);
CREATE TABLE public.evaluation (
    id bigint NOT NULL,
    run_id bigint,
    data text NOT NULL,
    model text NOT NULL,
    metric text NOT NULL,
    value double precision NOT NULL,
    low double precision,
    high double precision,
    pictures integer NOT NULL,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.evaluation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.evaluation_id_seq OWNED BY public.evaluation.id;
CREATE TABLE public.failure (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    file_id bigint NOT NULL,
    kind text NOT NULL,
    message text NOT NULL,
    attempts integer NOT NULL,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.failure_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.failure_id_seq OWNED BY public.failure.id;
CREATE TABLE public.file (
    id bigint NOT NULL,
    path text NOT NULL,
    path_raw bytea,
    size bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    image_id bigint
);
CREATE VIEW public.failures AS
 SELECT file.path,
    failure.kind,
    failure.message,
    failure.attempts,
    failure.job_id AS job,
    to_timestamp(failure.created_at) AS created_at,
    file.id AS file_id
   FROM (public.failure
     JOIN public.file ON ((file.id = failure.file_id)));
CREATE SEQUENCE public.file_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.file_id_seq OWNED BY public.file.id;
CREATE TABLE public.fingerprint (
    path text NOT NULL,
    size bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    sha256 bytea NOT NULL
);
CREATE TABLE public.image (
    id bigint NOT NULL,
    sha256 bytea NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    format text NOT NULL
);
CREATE SEQUENCE public.image_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.image_id_seq OWNED BY public.image.id;
CREATE TABLE public.item (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    file_id bigint NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL,
    CONSTRAINT ck_item_state CHECK ((state = ANY (ARRAY['queued'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE SEQUENCE public.item_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.item_id_seq OWNED BY public.item.id;
CREATE TABLE public.job (
    id bigint NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    source text NOT NULL,
    model text NOT NULL,
    recipe_id bigint,
    parameters text NOT NULL,
    priority integer NOT NULL,
    served double precision NOT NULL,
    run_after double precision NOT NULL,
    deadline double precision,
    scanned_at double precision,
    total integer NOT NULL,
    skipped integer NOT NULL,
    note text,
    created_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    CONSTRAINT ck_job_state CHECK ((state = ANY (ARRAY['scanning'::text, 'queued'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE SEQUENCE public.job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.job_id_seq OWNED BY public.job.id;
CREATE VIEW public.jobs AS
SELECT
    NULL::bigint AS id,
    NULL::text AS kind,
    NULL::text AS state,
    NULL::text AS source,
    NULL::text AS model,
    NULL::integer AS priority,
    NULL::integer AS total,
    NULL::integer AS skipped,
    NULL::bigint AS done,
    NULL::bigint AS failed,
    NULL::bigint AS remaining,
    NULL::text AS note,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS ended_at,
    NULL::bigint AS recipe_id;
CREATE TABLE public.run (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    base text NOT NULL,
    weights text,
    data text NOT NULL,
    plan text NOT NULL,
    folder text,
    pictures integer,
    steps integer,
    note text,
    started_at double precision,
    ended_at double precision,
    created_at double precision NOT NULL
);
CREATE VIEW public.leaderboard AS
 SELECT run.id AS run,
    run.base,
    run.data,
    job.state,
    ( SELECT min(epoch.validation_loss) AS min
           FROM public.epoch
          WHERE (epoch.run_id = run.id)) AS validation_loss,
    ( SELECT checkpoint.step
           FROM public.checkpoint
          WHERE ((checkpoint.run_id = run.id) AND checkpoint.is_best)
          ORDER BY checkpoint.step DESC
         LIMIT 1) AS best_step,
    ( SELECT evaluation.value
           FROM public.evaluation
          WHERE ((evaluation.run_id = run.id) AND (evaluation.metric = 'BLEU-4'::text) AND (evaluation.model = ('run:'::text || run.id)))
          ORDER BY evaluation.id DESC
         LIMIT 1) AS bleu_4,
    ( SELECT evaluation.value
           FROM public.evaluation
          WHERE ((evaluation.run_id = run.id) AND (evaluation.metric = 'CIDEr-D'::text) AND (evaluation.model = ('run:'::text || run.id)))
          ORDER BY evaluation.id DESC
         LIMIT 1) AS cider_d,
    ( SELECT evaluation.value
           FROM public.evaluation
          WHERE ((evaluation.run_id = run.id) AND (evaluation.metric = 'ROUGE-L'::text) AND (evaluation.model = ('run:'::text || run.id)))
          ORDER BY evaluation.id DESC
         LIMIT 1) AS rouge_l,
    ( SELECT evaluation.value
           FROM public.evaluation
          WHERE ((evaluation.run_id = run.id) AND (evaluation.metric = 'METEOR'::text) AND (evaluation.model = ('run:'::text || run.id)))
          ORDER BY evaluation.id DESC
         LIMIT 1) AS meteor,
    run.pictures,
    run.plan,
    to_timestamp(run.started_at) AS started_at,
    to_timestamp(run.ended_at) AS ended_at
   FROM (public.run
     JOIN public.job ON ((job.id = run.job_id)));
CREATE TABLE public.loss (
    run_id bigint NOT NULL,
    step integer NOT NULL,
    epoch double precision NOT NULL,
    loss double precision NOT NULL,
    unsmoothed double precision NOT NULL,
    learning_rate double precision NOT NULL,
    grad_norm double precision,
    created_at double precision NOT NULL
);
CREATE TABLE public.recipe (
    id bigint NOT NULL,
    hash bytea NOT NULL,
    model text NOT NULL,
    weights text NOT NULL,
    prompt text NOT NULL,
    num_beams integer NOT NULL,
    max_new_tokens integer NOT NULL,
    min_new_tokens integer NOT NULL,
    do_sample boolean NOT NULL,
    top_p double precision NOT NULL,
    top_k integer NOT NULL,
    temperature double precision NOT NULL,
    repetition_penalty double precision NOT NULL,
    length_penalty double precision NOT NULL,
    no_repeat_ngram_size integer NOT NULL,
    seed bigint NOT NULL,
    preprocessing text NOT NULL,
    created_at double precision NOT NULL
);
CREATE VIEW public.photos AS
 SELECT file.id AS file_id,
    file.path,
    COALESCE(human.text, caption.text) AS caption,
        CASE
            WHEN (human.text IS NOT NULL) THEN 'human'::text
            WHEN (caption.id IS NOT NULL) THEN 'model'::text
            ELSE NULL::text
        END AS source,
    recipe.model,
    caption.score,
    caption.flag,
    image.width,
    image.height,
    image.format,
    file.image_id,
    caption.id AS caption_id,
    to_timestamp(COALESCE(
        CASE
            WHEN (human.text IS NOT NULL) THEN human.created_at
            ELSE NULL::double precision
        END, caption.created_at)) AS created_at
   FROM ((((public.file
     LEFT JOIN public.image ON ((image.id = file.image_id)))
     LEFT JOIN public.edit human ON ((human.id = ( SELECT max(e.id) AS max
           FROM public.edit e
          WHERE (e.image_id = file.image_id)))))
     LEFT JOIN public.caption ON ((caption.id = ( SELECT c.id
           FROM ((public.caption c
             JOIN public.recipe r ON ((r.id = c.recipe_id)))
             LEFT JOIN public.alias a ON ((a.weights = r.weights)))
          WHERE (c.image_id = file.image_id)
          ORDER BY (a.created_at IS NULL), a.created_at DESC, c.id DESC
         LIMIT 1))))
     LEFT JOIN public.recipe ON ((recipe.id = caption.recipe_id)))
  WHERE (file.path !~~ 'upload:%'::text);
CREATE TABLE public.queue (
    name text NOT NULL,
    paused boolean NOT NULL,
    changed_at double precision
);
CREATE SEQUENCE public.recipe_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.recipe_id_seq OWNED BY public.recipe.id;
CREATE TABLE public.remark (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    message text NOT NULL,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.remark_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.remark_id_seq OWNED BY public.remark.id;
CREATE TABLE public.worker (
    id bigint NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    queue text NOT NULL,
    device text,
    versions text NOT NULL,
    state text NOT NULL,
    model text,
    rate double precision,
    note text,
    started_at double precision NOT NULL,
    seen_at double precision NOT NULL
);
CREATE VIEW public.results AS
 SELECT file.path,
    COALESCE(human.text, caption.text) AS caption,
    caption.score,
    recipe.model,
    recipe.prompt,
        CASE
            WHEN (human.text IS NOT NULL) THEN 'human'::text
            ELSE 'model'::text
        END AS source,
    ( SELECT max(item.job_id) AS max
           FROM (public.item
             JOIN public.job ON ((job.id = item.job_id)))
          WHERE ((item.file_id = file.id) AND (job.recipe_id = caption.recipe_id))) AS job,
    to_timestamp(caption.created_at) AS created_at,
    caption.text AS model_caption,
    caption.flag,
    caption."precision",
    worker.name AS worker,
    worker.device,
    recipe.weights,
    recipe.num_beams,
    caption.id AS caption_id,
    caption.recipe_id,
    caption.image_id,
    file.id AS file_id
   FROM ((((public.caption
     JOIN public.recipe ON ((recipe.id = caption.recipe_id)))
     JOIN public.file ON ((file.image_id = caption.image_id)))
     LEFT JOIN public.worker ON ((worker.id = caption.worker_id)))
     LEFT JOIN public.edit human ON ((human.id = ( SELECT max(e.id) AS max
           FROM public.edit e
          WHERE (e.image_id = caption.image_id)))))
  WHERE (file.path !~~ 'upload:%'::text);
CREATE SEQUENCE public.run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.run_id_seq OWNED BY public.run.id;
CREATE VIEW public.training_curve AS
 SELECT loss.run_id AS run,
    loss.step,
    loss.epoch,
    loss.loss,
    loss.unsmoothed,
    loss.learning_rate,
    loss.grad_norm,
    epoch.validation_loss,
    to_timestamp(loss.created_at) AS created_at
   FROM (public.loss
     LEFT JOIN public.epoch ON (((epoch.run_id = loss.run_id) AND (epoch.step = loss.step))));
CREATE TABLE public.unit (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    queue text NOT NULL,
    state text NOT NULL,
    worker_id bigint,
    fence integer NOT NULL,
    crashes integer NOT NULL,
    run_after double precision NOT NULL,
    lease_until double precision,
    pictures integer NOT NULL,
    done integer NOT NULL,
    failed integer NOT NULL,
    CONSTRAINT ck_unit_state CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'done'::text, 'split'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE SEQUENCE public.unit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.unit_id_seq OWNED BY public.unit.id;
CREATE TABLE public.upload (
    file_id bigint NOT NULL,
    data bytea NOT NULL,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.worker_id_seq OWNED BY public.worker.id;
ALTER TABLE ONLY public.caption ALTER COLUMN id SET DEFAULT nextval('public.caption_id_seq'::regclass);
ALTER TABLE ONLY public.checkpoint ALTER COLUMN id SET DEFAULT nextval('public.checkpoint_id_seq'::regclass);
ALTER TABLE ONLY public.edit ALTER COLUMN id SET DEFAULT nextval('public.edit_id_seq'::regclass);
ALTER TABLE ONLY public.evaluation ALTER COLUMN id SET DEFAULT nextval('public.evaluation_id_seq'::regclass);
ALTER TABLE ONLY public.failure ALTER COLUMN id SET DEFAULT nextval('public.failure_id_seq'::regclass);
ALTER TABLE ONLY public.file ALTER COLUMN id SET DEFAULT nextval('public.file_id_seq'::regclass);
ALTER TABLE ONLY public.image ALTER COLUMN id SET DEFAULT nextval('public.image_id_seq'::regclass);
ALTER TABLE ONLY public.item ALTER COLUMN id SET DEFAULT nextval('public.item_id_seq'::regclass);
ALTER TABLE ONLY public.job ALTER COLUMN id SET DEFAULT nextval('public.job_id_seq'::regclass);
ALTER TABLE ONLY public.recipe ALTER COLUMN id SET DEFAULT nextval('public.recipe_id_seq'::regclass);
ALTER TABLE ONLY public.remark ALTER COLUMN id SET DEFAULT nextval('public.remark_id_seq'::regclass);
ALTER TABLE ONLY public.run ALTER COLUMN id SET DEFAULT nextval('public.run_id_seq'::regclass);
ALTER TABLE ONLY public.unit ALTER COLUMN id SET DEFAULT nextval('public.unit_id_seq'::regclass);
ALTER TABLE ONLY public.worker ALTER COLUMN id SET DEFAULT nextval('public.worker_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.alias VALUES ('house', 'run:1@2', 'sha256:4c4f475ace503b29e61c07c67bc09edd0bd386b46c6c8318301fec074c0de3ab', 1795739518.824387);
INSERT INTO public.batch_size VALUES ('sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc', 'cpu', 1, 'bf16', 512, 358.9831533784576, 1795739504.198912);
INSERT INTO public.batch_size VALUES ('sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc', 'cpu', 2, 'bf16', 512, 305.5806515489583, 1795739510.438358);
INSERT INTO public.caption VALUES (1, 1, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.031006574630737305, 'repeated,cut', 2, 'bf16', 1795739504.368444);
INSERT INTO public.caption VALUES (2, 2, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.027499914169311523, 'repeated,cut', 2, 'bf16', 1795739504.368671);
INSERT INTO public.caption VALUES (3, 3, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.031730270385742186, 'repeated,cut', 2, 'bf16', 1795739504.36868);
INSERT INTO public.caption VALUES (4, 4, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.04206428527832031, 'repeated,cut', 2, 'bf16', 1795739504.368685);
INSERT INTO public.caption VALUES (5, 5, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.022933244705200195, 'repeated,cut', 2, 'bf16', 1795739504.368689);
INSERT INTO public.caption VALUES (6, 6, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.04542694091796875, 'repeated,cut', 2, 'bf16', 1795739504.368693);
INSERT INTO public.caption VALUES (7, 7, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.03364896774291992, 'repeated,cut', 2, 'bf16', 1795739504.368696);
INSERT INTO public.caption VALUES (8, 8, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.04239177703857422, 'repeated,cut', 2, 'bf16', 1795739504.3687);
INSERT INTO public.caption VALUES (9, 9, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.03980851173400879, 'repeated,cut', 2, 'bf16', 1795739504.368706);
INSERT INTO public.caption VALUES (10, 10, 1, 'large large large large large large large large large large large large large large large large large large large large', -0.034115171432495116, 'repeated,cut', 2, 'bf16', 1795739504.368711);
INSERT INTO public.caption VALUES (11, 3, 2, 'large large large large large large large large large large large large large large large large large large large large', -0.03173020465765149, 'repeated,cut', 2, 'bf16', 1795739510.610699);
INSERT INTO public.caption VALUES (12, 6, 2, 'large large large large large large large large large large large large large large large large large large large large', -0.04542693877592683, 'repeated,cut', 2, 'bf16', 1795739510.610736);
INSERT INTO public.checkpoint VALUES (1, 1, 2, '/srv/blipq/home/runs/1/f1-00000002', '\x6927b9ce7145f13b71f437862709e506e7dcaf6bb4c18d6602934c93a3ff329c', true, 1795739517.986465);
INSERT INTO public.edit VALUES (1, 7, NULL, 'a cup that a person saw', 'root', 'import-20261127-003151-b552', 1795739511.399511);
INSERT INTO public.edit VALUES (2, 4, NULL, 'photo: large large large large large large large large large large large large large large large large large large large large', 'root', 'edit-20261127-003151-4923', 1795739511.961201);
INSERT INTO public.epoch VALUES (1, 1, 1, 9.16600227355957, NULL, NULL, 0.12420792300008543, 1795739517.984227);
INSERT INTO public.epoch VALUES (1, 2, 2, 8.747912406921387, NULL, NULL, 0.055376324000008026, 1795739517.98491);
INSERT INTO public.evaluation VALUES (1, NULL, '/srv/blipq/taught', 'demo', 'BLEU-1', 3.1249999999902347e-18, 3.1249999999902347e-18, 3.1249999999902347e-18, 8, 1795739524.747092);
INSERT INTO public.evaluation VALUES (2, NULL, '/srv/blipq/taught', 'demo', 'BLEU-2', 3.1648105221264415e-18, 3.1648105221264415e-18, 3.1648105221264415e-18, 8, 1795739524.747566);
INSERT INTO public.evaluation VALUES (3, NULL, '/srv/blipq/taught', 'demo', 'BLEU-3', 3.205830930026469e-18, 3.205830930026469e-18, 3.205830930026469e-18, 8, 1795739524.747577);
INSERT INTO public.evaluation VALUES (4, NULL, '/srv/blipq/taught', 'demo', 'BLEU-4', 3.2481234973038246e-18, 3.2481234973038246e-18, 3.2481234973038246e-18, 8, 1795739524.74758);
INSERT INTO public.evaluation VALUES (5, NULL, '/srv/blipq/taught', 'demo', 'CIDEr-D', 0, 0, 0, 8, 1795739524.747583);
INSERT INTO public.evaluation VALUES (6, NULL, '/srv/blipq/taught', 'demo', 'ROUGE-L', 0, 0, 0, 8, 1795739524.747586);
INSERT INTO public.evaluation VALUES (7, NULL, '/srv/blipq/taught', 'run:1@2', 'BLEU-1', 0.006249999999980472, 3.1249999999902347e-18, 0.01249999999996094, 8, 1795739524.748527);
INSERT INTO public.evaluation VALUES (8, NULL, '/srv/blipq/taught', 'run:1@2', 'BLEU-2', 1.4153462926762654e-10, 3.1648105221264415e-18, 2.0016019225572544e-10, 8, 1795739524.748545);
INSERT INTO public.evaluation VALUES (9, NULL, '/srv/blipq/taught', 'run:1@2', 'BLEU-3', 4.0390938711444043e-13, 3.205830930026469e-18, 5.088939390756205e-13, 8, 1795739524.748549);
INSERT INTO public.evaluation VALUES (10, NULL, '/srv/blipq/taught', 'run:1@2', 'BLEU-4', 2.1721510981880424e-14, 3.2481234973038246e-18, 2.583137540826194e-14, 8, 1795739524.748552);
INSERT INTO public.evaluation VALUES (11, NULL, '/srv/blipq/taught', 'run:1@2', 'CIDEr-D', 0, 0, 0, 8, 1795739524.748555);
INSERT INTO public.evaluation VALUES (12, NULL, '/srv/blipq/taught', 'run:1@2', 'ROUGE-L', 0.012180511182108627, 0, 0.024361022364217253, 8, 1795739524.748558);
INSERT INTO public.failure VALUES (1, 1, 11, 'unsupported', 'not a picture, or in a format that is not read', 1, 1795739504.372314);
INSERT INTO public.file VALUES (11, '/srv/blipq/photos/broken.jpg', NULL, 18, 1795739491007029632, NULL);
INSERT INTO public.file VALUES (1, '/srv/blipq/photos/000.png', NULL, 1820, 1795739491001872641, 5);
INSERT INTO public.file VALUES (4, '/srv/blipq/photos/003.png', NULL, 1820, 1795739491005482412, 7);
INSERT INTO public.file VALUES (5, '/srv/blipq/photos/004.png', NULL, 1820, 1795739491005725263, 4);
INSERT INTO public.file VALUES (6, '/srv/blipq/photos/005.png', NULL, 1820, 1795739491005962967, 10);
INSERT INTO public.file VALUES (7, '/srv/blipq/photos/006.png', NULL, 1820, 1795739491006203794, 2);
INSERT INTO public.file VALUES (8, '/srv/blipq/photos/007.png', NULL, 1820, 1795739491006475118, 8);
INSERT INTO public.file VALUES (9, '/srv/blipq/photos/008.png', NULL, 1820, 1795739491006717578, 9);
INSERT INTO public.file VALUES (10, '/srv/blipq/photos/009.png', NULL, 1820, 1795739491006947450, 1);
INSERT INTO public.file VALUES (2, '/srv/blipq/photos/001.png', NULL, 1820, 1795739491004966366, 6);
INSERT INTO public.file VALUES (3, '/srv/blipq/photos/002.png', NULL, 1820, 1795739491005232842, 3);
INSERT INTO public.file VALUES (14, '/srv/blipq/later/200.png', NULL, 1820, 1795739526842104377, NULL);
INSERT INTO public.file VALUES (15, '/srv/blipq/later/201.png', NULL, 1820, 1795739526842361189, NULL);
INSERT INTO public.file VALUES (16, '/srv/blipq/later/202.png', NULL, 1820, 1795739526842651020, NULL);
INSERT INTO public.file VALUES (17, '/srv/blipq/never/300.png', NULL, 1820, 1795739527700689975, NULL);
INSERT INTO public.file VALUES (18, '/srv/blipq/never/301.png', NULL, 1820, 1795739527701021447, NULL);
INSERT INTO public.file VALUES (19, '/srv/blipq/never/302.png', NULL, 1820, 1795739527701260513, NULL);
INSERT INTO public.file VALUES (23, 'upload:7/frame.bmp', NULL, 18, 0, NULL);
INSERT INTO public.fingerprint VALUES ('/srv/blipq/code/demo/checkpoint/model.safetensors', 3411824, 1795739356421869567, '\x61ba9ba71eb5add07e3a42414b2611745fb8d04478a555698cae3af1bddfced1');
INSERT INTO public.fingerprint VALUES ('/srv/blipq/home/runs/1/f1-00000002/model.safetensors', 6806520, 1795739517921873255, '\x6927b9ce7145f13b71f437862709e506e7dcaf6bb4c18d6602934c93a3ff329c');
INSERT INTO public.image VALUES (1, '\x19971d5851c9911a5cfb856518e4681d84205b061c0e861c8a8ac246700da7e5', 24, 24, 'PNG');
INSERT INTO public.image VALUES (2, '\x3359eeb9c2b329e46dfa3db82e399ccfabd312cb1d3878e786b0f30fe3a39c61', 24, 24, 'PNG');
INSERT INTO public.image VALUES (3, '\x33baeb7df1e648156fb7231ee4885b08514da0f78f69edff6b8a03b214a331a2', 24, 24, 'PNG');
INSERT INTO public.image VALUES (4, '\x6a9dab87e048cb4b257f8c42cee26055121d613d7dec1b76002594cefffe47d9', 24, 24, 'PNG');
INSERT INTO public.image VALUES (5, '\x7ec87e79e83366e07b605cdcbd99274380b606630570814089775c79fddd36b5', 24, 24, 'PNG');
INSERT INTO public.image VALUES (6, '\x86aaa105aa4984b560204a38956061768b9de5ed9d49695c4abee8bc64f88cee', 24, 24, 'PNG');
INSERT INTO public.image VALUES (7, '\xa001c5c0bd90a46a8ebbfdbeacdb6694a2c73f120a433b08c4f43d6dc9d6325b', 24, 24, 'PNG');
INSERT INTO public.image VALUES (8, '\xc984db384a9301e78dc411c4442c99d8c9aace822fad8996ffc2cb00631f9125', 24, 24, 'PNG');
INSERT INTO public.image VALUES (9, '\xf32bc0fde88266e6985ef5a18fbe58fd40dddf7840c9db295859b672f1d90864', 24, 24, 'PNG');
INSERT INTO public.image VALUES (10, '\xfac17e414105c9a89db7b02c944c98a7c64fe874221371fec9090a5ef6858432', 24, 24, 'PNG');
INSERT INTO public.item VALUES (1, 1, 1, 1, 'done', 1);
INSERT INTO public.item VALUES (2, 1, 1, 2, 'done', 1);
INSERT INTO public.item VALUES (3, 1, 1, 3, 'done', 1);
INSERT INTO public.item VALUES (4, 1, 1, 4, 'done', 1);
INSERT INTO public.item VALUES (5, 1, 1, 5, 'done', 1);
INSERT INTO public.item VALUES (6, 1, 1, 6, 'done', 1);
INSERT INTO public.item VALUES (7, 1, 1, 7, 'done', 1);
INSERT INTO public.item VALUES (8, 1, 1, 8, 'done', 1);
INSERT INTO public.item VALUES (9, 1, 2, 9, 'done', 1);
INSERT INTO public.item VALUES (10, 1, 2, 10, 'done', 1);
INSERT INTO public.item VALUES (11, 1, 2, 11, 'failed', 1);
INSERT INTO public.item VALUES (12, 2, 3, 2, 'done', 1);
INSERT INTO public.item VALUES (13, 2, 3, 3, 'done', 1);
INSERT INTO public.item VALUES (14, 4, 5, 14, 'queued', 0);
INSERT INTO public.item VALUES (15, 4, 5, 15, 'queued', 0);
INSERT INTO public.item VALUES (16, 4, 5, 16, 'queued', 0);
INSERT INTO public.item VALUES (17, 5, 6, 17, 'queued', 0);
INSERT INTO public.item VALUES (18, 5, 6, 18, 'queued', 0);
INSERT INTO public.item VALUES (19, 5, 6, 19, 'queued', 0);
INSERT INTO public.item VALUES (23, 7, 8, 23, 'queued', 0);
INSERT INTO public.job VALUES (1, 'caption', 'done', '/srv/blipq/photos', 'demo', 1, '{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/photos"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}', 0, 11, 0, NULL, 1795739491.549486, 11, 0, NULL, 1795739491.535194, 1795739504.21039, 1795739504.378102);
INSERT INTO public.job VALUES (5, 'caption', 'cancelled', '/srv/blipq/never', 'demo', 1, '{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/never"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}', 0, 0, 0, NULL, 1795739528.194694, 3, 0, NULL, 1795739528.183925, NULL, 1795739529.566407);
INSERT INTO public.job VALUES (2, 'caption', 'done', '/srv/blipq/photos/001.png /srv/blipq/photos/002.png', 'demo', 2, '{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/photos/001.png", "/srv/blipq/photos/002.png"], "recipe": {"num_beams": 2, "prompt": "", "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}', 0, 2, 0, NULL, 1795739505.031852, 2, 0, NULL, 1795739505.024782, 1795739510.443067, 1795739510.61428);
INSERT INTO public.job VALUES (3, 'train', 'done', '/srv/blipq/taught', 'demo', NULL, '{"validation": 0.25, "epochs": 2}', 0, 1, 0, NULL, 1795739512.640033, 1, 0, NULL, 1795739512.640136, 1795739513.427746, 1795739517.994521);
INSERT INTO public.job VALUES (4, 'caption', 'running', '/srv/blipq/later', 'demo', 1, '{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/later"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}', 0, 3, 0, NULL, 1795739527.331529, 3, 0, NULL, 1795739527.321681, 1795739533.185081, NULL);
INSERT INTO public.job VALUES (7, 'caption', 'queued', 'upload:frame.bmp', 'demo', NULL, '{}', 10, 0, 0, 1795739593.188205, 1795739533.188211, 1, 0, NULL, 1795739533.188211, NULL, NULL);
INSERT INTO public.loss VALUES (1, 1, 1, 9.948762893676758, 9.16600227355957, 5e-05, 33.95455551147461, 1795739517.979889);
INSERT INTO public.loss VALUES (1, 2, 2, 9.53266716003418, 8.747912406921387, 5e-05, 33.11687088012695, 1795739517.980131);
INSERT INTO public.queue VALUES ('caption', true, 1795739526.670133);
INSERT INTO public.recipe VALUES (1, '\x93496bb45b61584e8a20941df2c13b03828486c6f604ad6914b55b02107294e1', 'demo', 'sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc', '', 1, 20, 0, false, 1, 50, 1, 1, 1, 0, 0, 'blipq-1', 1795739491.529221);
INSERT INTO public.recipe VALUES (2, '\x12d4400d20426c4a059d96c69d2cdd88f6d4d4e49b68dd2bcfbbb7498bf72e3b', 'demo', 'sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc', '', 2, 20, 0, false, 1, 50, 1, 1, 1, 0, 0, 'blipq-1', 1795739505.020052);
INSERT INTO public.remark VALUES (1, 1, 'no split', '', '8 pictures are too few to hold some out (fewer than 20): no validation, no early stop, the last checkpoint counts as the best', 1795739517.981517);
INSERT INTO public.remark VALUES (2, 1, 'features', '', '0.1 MB of picture features for 8 pictures', 1795739517.982207);
INSERT INTO public.remark VALUES (3, 1, 'no evaluation', '', 'no pictures were held out: nothing to compare base and tuned on', 1795739517.988959);
INSERT INTO public.run VALUES (1, 3, 4, 'demo', 'sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc', '/srv/blipq/taught', '{"image_column": null, "text_column": null, "split": "train", "validation": 0.25, "prompt": "", "epochs": 2, "patience": 0, "lr": 5e-05, "batch_size": 8, "accumulation": 1, "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "precision": "auto", "freeze": "vision", "lora": false, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "gradient_checkpointing": false, "image_size": null, "max_length": 40, "label_smoothing": 0.1, "augment": false, "seed": 0, "keep": 2, "checkpoint_every": null}', '/srv/blipq/home/runs/1', 8, 2, 'all epochs are done', 1795739513.429705, 1795739517.98965, 1795739512.642499);
INSERT INTO public.unit VALUES (1, 1, 'caption', 'done', 2, 2, 0, 0, NULL, 8, 8, 0);
INSERT INTO public.unit VALUES (2, 1, 'caption', 'done', 2, 2, 0, 0, NULL, 3, 2, 1);
INSERT INTO public.unit VALUES (3, 2, 'caption', 'done', 2, 2, 0, 0, NULL, 2, 2, 0);
INSERT INTO public.unit VALUES (4, 3, 'train', 'done', 1, 2, 0, 0, NULL, 1, 1, 0);
INSERT INTO public.unit VALUES (6, 5, 'caption', 'queued', NULL, 0, 0, 0, NULL, 3, 0, 0);
INSERT INTO public.unit VALUES (5, 4, 'caption', 'running', 3, 1, 0, 0, 1795739563.182914, 3, 0, 0);
INSERT INTO public.unit VALUES (8, 7, 'caption', 'queued', NULL, 0, 0, 0, NULL, 1, 0, 0);
INSERT INTO public.upload VALUES (23, '\x6279746573206f6620612070696374757265', 1795739533.189918);
INSERT INTO public.worker VALUES (1, 'train@host-a:14498', 'host-a', 14498, 'train', 'cpu', 'Python 3.11.7, blipq 0.1.0, torch 2.13.0+cpu, transformers 5.23.0, pillow 13.0.0', 'stopped', NULL, NULL, NULL, 1795739493.255849, 1795739532.556655);
INSERT INTO public.worker VALUES (2, 'caption@host-a:14497', 'host-a', 14497, 'caption', 'cpu', 'Python 3.11.7, blipq 0.1.0, torch 2.13.0+cpu, transformers 5.23.0, pillow 13.0.0', 'stopped', NULL, NULL, NULL, 1795739493.323557, 1795739532.58822);
INSERT INTO public.worker VALUES (3, 'caption@host-a:14479', 'host-a', 14479, 'caption', 'cpu', 'Python 3.11.7, blipq 0.1.0', 'starting', NULL, NULL, NULL, 1795739533.177405, 1795739533.177468);
SELECT pg_catalog.setval('public.caption_id_seq', 12, true);
SELECT pg_catalog.setval('public.checkpoint_id_seq', 1, true);
SELECT pg_catalog.setval('public.edit_id_seq', 2, true);
SELECT pg_catalog.setval('public.evaluation_id_seq', 12, true);
SELECT pg_catalog.setval('public.failure_id_seq', 1, true);
SELECT pg_catalog.setval('public.file_id_seq', 23, true);
SELECT pg_catalog.setval('public.image_id_seq', 12, true);
SELECT pg_catalog.setval('public.item_id_seq', 23, true);
SELECT pg_catalog.setval('public.job_id_seq', 7, true);
SELECT pg_catalog.setval('public.recipe_id_seq', 2, true);
SELECT pg_catalog.setval('public.remark_id_seq', 3, true);
SELECT pg_catalog.setval('public.run_id_seq', 1, true);
SELECT pg_catalog.setval('public.unit_id_seq', 8, true);
SELECT pg_catalog.setval('public.worker_id_seq', 3, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alias
    ADD CONSTRAINT pk_alias PRIMARY KEY (name);
ALTER TABLE ONLY public.batch_size
    ADD CONSTRAINT pk_batch_size PRIMARY KEY (weights, device, num_beams, "precision");
ALTER TABLE ONLY public.caption
    ADD CONSTRAINT pk_caption PRIMARY KEY (id);
ALTER TABLE ONLY public.checkpoint
    ADD CONSTRAINT pk_checkpoint PRIMARY KEY (id);
ALTER TABLE ONLY public.edit
    ADD CONSTRAINT pk_edit PRIMARY KEY (id);
ALTER TABLE ONLY public.epoch
    ADD CONSTRAINT pk_epoch PRIMARY KEY (run_id, epoch);
ALTER TABLE ONLY public.evaluation
    ADD CONSTRAINT pk_evaluation PRIMARY KEY (id);
ALTER TABLE ONLY public.failure
    ADD CONSTRAINT pk_failure PRIMARY KEY (id);
ALTER TABLE ONLY public.file
    ADD CONSTRAINT pk_file PRIMARY KEY (id);
ALTER TABLE ONLY public.fingerprint
    ADD CONSTRAINT pk_fingerprint PRIMARY KEY (path);
ALTER TABLE ONLY public.image
    ADD CONSTRAINT pk_image PRIMARY KEY (id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT pk_item PRIMARY KEY (id);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT pk_job PRIMARY KEY (id);
ALTER TABLE ONLY public.loss
    ADD CONSTRAINT pk_loss PRIMARY KEY (run_id, step);
ALTER TABLE ONLY public.queue
    ADD CONSTRAINT pk_queue PRIMARY KEY (name);
ALTER TABLE ONLY public.recipe
    ADD CONSTRAINT pk_recipe PRIMARY KEY (id);
ALTER TABLE ONLY public.remark
    ADD CONSTRAINT pk_remark PRIMARY KEY (id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT pk_run PRIMARY KEY (id);
ALTER TABLE ONLY public.unit
    ADD CONSTRAINT pk_unit PRIMARY KEY (id);
ALTER TABLE ONLY public.upload
    ADD CONSTRAINT pk_upload PRIMARY KEY (file_id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT pk_worker PRIMARY KEY (id);
ALTER TABLE ONLY public.file
    ADD CONSTRAINT uq_file_path UNIQUE (path);
ALTER TABLE ONLY public.image
    ADD CONSTRAINT uq_image_sha256 UNIQUE (sha256);
ALTER TABLE ONLY public.recipe
    ADD CONSTRAINT uq_recipe_hash UNIQUE (hash);
CREATE INDEX ix_alias_weights ON public.alias USING btree (weights);
CREATE INDEX ix_caption_recipe_id ON public.caption USING btree (recipe_id);
CREATE INDEX ix_edit_image_id ON public.edit USING btree (image_id);
CREATE INDEX ix_evaluation_run_id ON public.evaluation USING btree (run_id);
CREATE INDEX ix_failure_file_id ON public.failure USING btree (file_id);
CREATE INDEX ix_file_image_id ON public.file USING btree (image_id);
CREATE INDEX ix_file_size_known ON public.file USING btree (size) WHERE (image_id IS NOT NULL);
CREATE INDEX ix_item_file_id_job_id ON public.item USING btree (file_id, job_id);
CREATE INDEX ix_item_unit_id ON public.item USING btree (unit_id);
CREATE INDEX ix_job_state ON public.job USING btree (state);
CREATE INDEX ix_run_job_id ON public.run USING btree (job_id);
CREATE INDEX ix_unit_due ON public.unit USING btree (job_id, id) WHERE (state = 'queued'::text);
CREATE INDEX ix_unit_job_id_state ON public.unit USING btree (job_id, state);
CREATE INDEX ix_unit_leased ON public.unit USING btree (lease_until) WHERE (state = 'running'::text);
CREATE INDEX ix_worker_seen_at ON public.worker USING btree (seen_at);
CREATE UNIQUE INDEX uq_caption_image_id_recipe_id ON public.caption USING btree (image_id, recipe_id);
CREATE UNIQUE INDEX uq_checkpoint_run_id_step ON public.checkpoint USING btree (run_id, step);
CREATE UNIQUE INDEX uq_failure_job_id_file_id ON public.failure USING btree (job_id, file_id);
CREATE UNIQUE INDEX uq_remark_run_id_kind_name_message ON public.remark USING btree (run_id, kind, name, message);
CREATE OR REPLACE VIEW public.jobs AS
 SELECT job.id,
    job.kind,
    job.state,
    job.source,
    job.model,
    job.priority,
    job.total,
    job.skipped,
    COALESCE(sum(unit.done), (0)::bigint) AS done,
    COALESCE(sum(unit.failed), (0)::bigint) AS failed,
    COALESCE(sum(
        CASE
            WHEN ((unit.state = ANY (ARRAY['queued'::text, 'running'::text])) AND (job.state = ANY (ARRAY['scanning'::text, 'queued'::text, 'running'::text]))) THEN ((unit.pictures - unit.done) - unit.failed)
            ELSE NULL::integer
        END), (0)::bigint) AS remaining,
    job.note,
    to_timestamp(job.created_at) AS created_at,
    to_timestamp(job.started_at) AS started_at,
    to_timestamp(job.ended_at) AS ended_at,
    job.recipe_id
   FROM (public.job
     LEFT JOIN public.unit ON ((unit.job_id = job.id)))
  GROUP BY job.id;
ALTER TABLE ONLY public.caption
    ADD CONSTRAINT fk_caption_image_id FOREIGN KEY (image_id) REFERENCES public.image(id);
ALTER TABLE ONLY public.caption
    ADD CONSTRAINT fk_caption_recipe_id FOREIGN KEY (recipe_id) REFERENCES public.recipe(id);
ALTER TABLE ONLY public.caption
    ADD CONSTRAINT fk_caption_worker_id FOREIGN KEY (worker_id) REFERENCES public.worker(id);
ALTER TABLE ONLY public.checkpoint
    ADD CONSTRAINT fk_checkpoint_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.edit
    ADD CONSTRAINT fk_edit_image_id FOREIGN KEY (image_id) REFERENCES public.image(id);
ALTER TABLE ONLY public.edit
    ADD CONSTRAINT fk_edit_recipe_id FOREIGN KEY (recipe_id) REFERENCES public.recipe(id);
ALTER TABLE ONLY public.epoch
    ADD CONSTRAINT fk_epoch_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.evaluation
    ADD CONSTRAINT fk_evaluation_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.failure
    ADD CONSTRAINT fk_failure_file_id FOREIGN KEY (file_id) REFERENCES public.file(id);
ALTER TABLE ONLY public.failure
    ADD CONSTRAINT fk_failure_job_id FOREIGN KEY (job_id) REFERENCES public.job(id);
ALTER TABLE ONLY public.file
    ADD CONSTRAINT fk_file_image_id FOREIGN KEY (image_id) REFERENCES public.image(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_file_id FOREIGN KEY (file_id) REFERENCES public.file(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_job_id FOREIGN KEY (job_id) REFERENCES public.job(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_unit_id FOREIGN KEY (unit_id) REFERENCES public.unit(id);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT fk_job_recipe_id FOREIGN KEY (recipe_id) REFERENCES public.recipe(id);
ALTER TABLE ONLY public.loss
    ADD CONSTRAINT fk_loss_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.remark
    ADD CONSTRAINT fk_remark_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_job_id FOREIGN KEY (job_id) REFERENCES public.job(id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_unit_id FOREIGN KEY (unit_id) REFERENCES public.unit(id);
ALTER TABLE ONLY public.unit
    ADD CONSTRAINT fk_unit_job_id FOREIGN KEY (job_id) REFERENCES public.job(id);
ALTER TABLE ONLY public.unit
    ADD CONSTRAINT fk_unit_worker_id FOREIGN KEY (worker_id) REFERENCES public.worker(id);
ALTER TABLE ONLY public.upload
    ADD CONSTRAINT fk_upload_file_id FOREIGN KEY (file_id) REFERENCES public.file(id);
