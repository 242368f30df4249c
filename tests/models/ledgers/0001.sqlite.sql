BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE alias (
	name TEXT NOT NULL, 
	model TEXT NOT NULL, 
	weights TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_alias PRIMARY KEY (name)
);
INSERT INTO "alias" VALUES('house','run:1@2','sha256:4c4f475ace503b29e61c07c67bc09edd0bd386b46c6c8318301fec074c0de3ab',1.79573947721001505846e+09);
CREATE TABLE batch_size (
	weights TEXT NOT NULL, 
	device TEXT NOT NULL, 
	num_beams INTEGER NOT NULL, 
	precision TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	rate DOUBLE, 
	tried_at DOUBLE NOT NULL, 
	CONSTRAINT pk_batch_size PRIMARY KEY (weights, device, num_beams, precision)
);
INSERT INTO "batch_size" VALUES('sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc','cpu',1,'bf16',256,3.75503144143534086643e+02,1.79573946528298258786e+09);
INSERT INTO "batch_size" VALUES('sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc','cpu',2,'bf16',128,2.82734134771086758064e+02,1.79573946952001452445e+09);
CREATE TABLE caption (
	id INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	recipe_id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	score DOUBLE, 
	flag TEXT, 
	worker_id INTEGER, 
	precision TEXT, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_caption PRIMARY KEY (id), 
	CONSTRAINT fk_caption_image_id FOREIGN KEY(image_id) REFERENCES image (id), 
	CONSTRAINT fk_caption_recipe_id FOREIGN KEY(recipe_id) REFERENCES recipe (id), 
	CONSTRAINT fk_caption_worker_id FOREIGN KEY(worker_id) REFERENCES worker (id)
);
INSERT INTO "caption" VALUES(1,1,1,'large large large large large large large large large large large large large large large large large large large large',-3.10065746307373046875e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(2,2,1,'large large large large large large large large large large large large large large large large large large large large',-2.74999141693115234375e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(3,3,1,'large large large large large large large large large large large large large large large large large large large large',-3.17302703857421861122e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(4,4,1,'large large large large large large large large large large large large large large large large large large large large',-4.20642852783203111122e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(5,5,1,'large large large large large large large large large large large large large large large large large large large large',-2.29332447052001953125e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(6,6,1,'large large large large large large large large large large large large large large large large large large large large',-4.54269409179687486122e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(7,7,1,'large large large large large large large large large large large large large large large large large large large large',-3.3648967742919921875e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(8,8,1,'large large large large large large large large large large large large large large large large large large large large',-4.239177703857421875e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(9,9,1,'large large large large large large large large large large large large large large large large large large large large',-3.98085117340087890625e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(10,10,1,'large large large large large large large large large large large large large large large large large large large large',-3.41151714324951157997e-02,'repeated,cut',2,'bf16',1.79573946540601539611e+09);
INSERT INTO "caption" VALUES(11,3,2,'large large large large large large large large large large large large large large large large large large large large',-3.17302046576514867881e-02,'repeated,cut',2,'bf16',1.79573946964900207521e+09);
INSERT INTO "caption" VALUES(12,6,2,'large large large large large large large large large large large large large large large large large large large large',-4.54269387759268297721e-02,'repeated,cut',2,'bf16',1.79573946964900207521e+09);
CREATE TABLE checkpoint (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	sha256 BLOB NOT NULL, 
	is_best BOOLEAN NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_checkpoint PRIMARY KEY (id), 
	CONSTRAINT fk_checkpoint_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "checkpoint" VALUES(1,1,2,'/srv/blipq/home/runs/1/f1-00000002',X'6927B9CE7145F13B71F437862709E506E7DCAF6BB4C18D6602934C93A3FF329C',1,1.79573947644900536535e+09);
CREATE TABLE edit (
	id INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	recipe_id INTEGER, 
	text TEXT, 
	author TEXT NOT NULL, 
	batch TEXT, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_edit PRIMARY KEY (id), 
	CONSTRAINT fk_edit_image_id FOREIGN KEY(image_id) REFERENCES image (id), 
	CONSTRAINT fk_edit_recipe_id FOREIGN KEY(recipe_id) REFERENCES recipe (id)
);
INSERT INTO "edit" VALUES(1,7,NULL,'a cup that a person saw','root','import-20261127-003110-1088',1.79573947031900429723e+09);
INSERT INTO "edit" VALUES(2,4,NULL,'photo: large large large large large large large large large large large large large large large large large large large large','root','edit-20261127-003110-6aec',1.79573947077299499513e+09);
CREATE TABLE epoch (
	run_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	loss DOUBLE NOT NULL, 
	validation_loss DOUBLE, 
	metrics TEXT, 
	seconds DOUBLE NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_epoch PRIMARY KEY (run_id, epoch), 
	CONSTRAINT fk_epoch_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "epoch" VALUES(1,1,1,9.16600227355957,NULL,NULL,6.50954969999020249815e-02,1.79573947640201306338e+09);
INSERT INTO "epoch" VALUES(1,2,2,8.74791240692138671875e+00,NULL,NULL,4.05089789999237837037e-02,1.79573947644699358945e+09);
CREATE TABLE evaluation (
	id INTEGER NOT NULL, 
	run_id INTEGER, 
	data TEXT NOT NULL, 
	model TEXT NOT NULL, 
	metric TEXT NOT NULL, 
	value DOUBLE NOT NULL, 
	low DOUBLE, 
	high DOUBLE, 
	pictures INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_evaluation PRIMARY KEY (id), 
	CONSTRAINT fk_evaluation_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "evaluation" VALUES(1,NULL,'/srv/blipq/taught','demo','BLEU-1',3.12499999999023469945e-18,3.12499999999023469945e-18,3.12499999999023469945e-18,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(2,NULL,'/srv/blipq/taught','demo','BLEU-2',3.16481052212644154114e-18,3.16481052212644154114e-18,3.16481052212644154114e-18,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(3,NULL,'/srv/blipq/taught','demo','BLEU-3',3.20583093002646903882e-18,3.20583093002646903882e-18,3.20583093002646903882e-18,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(4,NULL,'/srv/blipq/taught','demo','BLEU-4',3.24812349730382457523e-18,3.24812349730382457523e-18,3.24812349730382457523e-18,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(5,NULL,'/srv/blipq/taught','demo','CIDEr-D',0.0,0.0,0.0,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(6,NULL,'/srv/blipq/taught','demo','ROUGE-L',0.0,0.0,0.0,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(7,NULL,'/srv/blipq/taught','run:1@2','BLEU-1',6.24999999998047169741e-03,3.12499999999023469945e-18,1.24999999999609399253e-02,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(8,NULL,'/srv/blipq/taught','run:1@2','BLEU-2',1.41534629267626536949e-10,3.16481052212644154114e-18,2.00160192255725436893e-10,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(9,NULL,'/srv/blipq/taught','run:1@2','BLEU-3',4.0390938711444042573e-13,3.20583093002646903882e-18,5.08893939075620453139e-13,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(10,NULL,'/srv/blipq/taught','run:1@2','BLEU-4',2.17215109818804239481e-14,3.24812349730382457523e-18,2.58313754082619395678e-14,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(11,NULL,'/srv/blipq/taught','run:1@2','CIDEr-D',0.0,0.0,0.0,8,1.79573948251201820367e+09);
INSERT INTO "evaluation" VALUES(12,NULL,'/srv/blipq/taught','run:1@2','ROUGE-L',1.21805111821086265583e-02,0.0,2.43610223642172531166e-02,8,1.79573948251201820367e+09);
CREATE TABLE failure (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	file_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	message TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_failure PRIMARY KEY (id), 
	CONSTRAINT fk_failure_file_id FOREIGN KEY(file_id) REFERENCES file (id), 
	CONSTRAINT fk_failure_job_id FOREIGN KEY(job_id) REFERENCES job (id)
);
INSERT INTO "failure" VALUES(1,1,11,'unsupported','not a picture, or in a format that is not read',1,1.79573946540999865532e+09);
CREATE TABLE file (
	id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	path_raw BLOB, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	image_id INTEGER, 
	CONSTRAINT pk_file PRIMARY KEY (id), 
	CONSTRAINT fk_file_image_id FOREIGN KEY(image_id) REFERENCES image (id), 
	CONSTRAINT uq_file_path UNIQUE (path)
);
INSERT INTO "file" VALUES(1,'/srv/blipq/photos/000.png',NULL,1820,1795739451676914464,5);
INSERT INTO "file" VALUES(2,'/srv/blipq/photos/001.png',NULL,1820,1795739451677345194,6);
INSERT INTO "file" VALUES(3,'/srv/blipq/photos/002.png',NULL,1820,1795739451677624399,3);
INSERT INTO "file" VALUES(4,'/srv/blipq/photos/003.png',NULL,1820,1795739451677898587,7);
INSERT INTO "file" VALUES(5,'/srv/blipq/photos/004.png',NULL,1820,1795739451678167316,4);
INSERT INTO "file" VALUES(6,'/srv/blipq/photos/005.png',NULL,1820,1795739451678434493,10);
INSERT INTO "file" VALUES(7,'/srv/blipq/photos/006.png',NULL,1820,1795739451678699467,2);
INSERT INTO "file" VALUES(8,'/srv/blipq/photos/007.png',NULL,1820,1795739451678995857,8);
INSERT INTO "file" VALUES(9,'/srv/blipq/photos/008.png',NULL,1820,1795739451679258057,9);
INSERT INTO "file" VALUES(10,'/srv/blipq/photos/009.png',NULL,1820,1795739451679516842,1);
INSERT INTO "file" VALUES(11,'/srv/blipq/photos/broken.jpg',NULL,18,1795739451679619925,NULL);
INSERT INTO "file" VALUES(12,'/srv/blipq/later/200.png',NULL,1820,1795739484362509645,NULL);
INSERT INTO "file" VALUES(13,'/srv/blipq/later/201.png',NULL,1820,1795739484362873495,NULL);
INSERT INTO "file" VALUES(14,'/srv/blipq/later/202.png',NULL,1820,1795739484363208223,NULL);
INSERT INTO "file" VALUES(15,'/srv/blipq/never/300.png',NULL,1820,1795739485066672182,NULL);
INSERT INTO "file" VALUES(16,'/srv/blipq/never/301.png',NULL,1820,1795739485067030695,NULL);
INSERT INTO "file" VALUES(17,'/srv/blipq/never/302.png',NULL,1820,1795739485067370970,NULL);
INSERT INTO "file" VALUES(18,'upload:6/frame.bmp',NULL,18,0,NULL);
CREATE TABLE fingerprint (
	path TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	sha256 BLOB NOT NULL, 
	CONSTRAINT pk_fingerprint PRIMARY KEY (path)
);
INSERT INTO "fingerprint" VALUES('/srv/blipq/code/demo/checkpoint/model.safetensors',3411824,1795739356421869567,X'61BA9BA71EB5ADD07E3A42414B2611745FB8D04478A555698CAE3AF1BDDFCED1');
INSERT INTO "fingerprint" VALUES('/srv/blipq/home/runs/1/f1-00000002/model.safetensors',6806520,1795739476413872308,X'6927B9CE7145F13B71F437862709E506E7DCAF6BB4C18D6602934C93A3FF329C');
CREATE TABLE image (
	id INTEGER NOT NULL, 
	sha256 BLOB NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	format TEXT NOT NULL, 
	CONSTRAINT pk_image PRIMARY KEY (id), 
	CONSTRAINT uq_image_sha256 UNIQUE (sha256)
);
INSERT INTO "image" VALUES(1,X'19971D5851C9911A5CFB856518E4681D84205B061C0E861C8A8AC246700DA7E5',24,24,'PNG');
INSERT INTO "image" VALUES(2,X'3359EEB9C2B329E46DFA3DB82E399CCFABD312CB1D3878E786B0F30FE3A39C61',24,24,'PNG');
INSERT INTO "image" VALUES(3,X'33BAEB7DF1E648156FB7231EE4885B08514DA0F78F69EDFF6B8A03B214A331A2',24,24,'PNG');
INSERT INTO "image" VALUES(4,X'6A9DAB87E048CB4B257F8C42CEE26055121D613D7DEC1B76002594CEFFFE47D9',24,24,'PNG');
INSERT INTO "image" VALUES(5,X'7EC87E79E83366E07B605CDCBD99274380B606630570814089775C79FDDD36B5',24,24,'PNG');
INSERT INTO "image" VALUES(6,X'86AAA105AA4984B560204A38956061768B9DE5ED9D49695C4ABEE8BC64F88CEE',24,24,'PNG');
INSERT INTO "image" VALUES(7,X'A001C5C0BD90A46A8EBBFDBEACDB6694A2C73F120A433B08C4F43D6DC9D6325B',24,24,'PNG');
INSERT INTO "image" VALUES(8,X'C984DB384A9301E78DC411C4442C99D8C9AACE822FAD8996FFC2CB00631F9125',24,24,'PNG');
INSERT INTO "image" VALUES(9,X'F32BC0FDE88266E6985EF5A18FBE58FD40DDDF7840C9DB295859B672F1D90864',24,24,'PNG');
INSERT INTO "image" VALUES(10,X'FAC17E414105C9A89DB7B02C944C98A7C64FE874221371FEC9090A5EF6858432',24,24,'PNG');
CREATE TABLE item (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	unit_id INTEGER NOT NULL, 
	file_id INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	CONSTRAINT pk_item PRIMARY KEY (id), 
	CONSTRAINT ck_item_state CHECK (state IN ('queued', 'done', 'failed', 'cancelled')), 
	CONSTRAINT fk_item_file_id FOREIGN KEY(file_id) REFERENCES file (id), 
	CONSTRAINT fk_item_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_item_unit_id FOREIGN KEY(unit_id) REFERENCES unit (id)
);
INSERT INTO "item" VALUES(1,1,1,1,'done',1);
INSERT INTO "item" VALUES(2,1,1,2,'done',1);
INSERT INTO "item" VALUES(3,1,1,3,'done',1);
INSERT INTO "item" VALUES(4,1,1,4,'done',1);
INSERT INTO "item" VALUES(5,1,1,5,'done',1);
INSERT INTO "item" VALUES(6,1,1,6,'done',1);
INSERT INTO "item" VALUES(7,1,1,7,'done',1);
INSERT INTO "item" VALUES(8,1,1,8,'done',1);
INSERT INTO "item" VALUES(9,1,2,9,'done',1);
INSERT INTO "item" VALUES(10,1,2,10,'done',1);
INSERT INTO "item" VALUES(11,1,2,11,'failed',1);
INSERT INTO "item" VALUES(12,2,3,2,'done',1);
INSERT INTO "item" VALUES(13,2,3,3,'done',1);
INSERT INTO "item" VALUES(14,4,5,12,'queued',0);
INSERT INTO "item" VALUES(15,4,5,13,'queued',0);
INSERT INTO "item" VALUES(16,4,5,14,'queued',0);
INSERT INTO "item" VALUES(17,5,6,15,'queued',0);
INSERT INTO "item" VALUES(18,5,6,16,'queued',0);
INSERT INTO "item" VALUES(19,5,6,17,'queued',0);
INSERT INTO "item" VALUES(20,6,7,18,'queued',0);
CREATE TABLE job (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	state TEXT NOT NULL, 
	source TEXT NOT NULL, 
	model TEXT NOT NULL, 
	recipe_id INTEGER, 
	parameters TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	served DOUBLE NOT NULL, 
	run_after DOUBLE NOT NULL, 
	deadline DOUBLE, 
	scanned_at DOUBLE, 
	total INTEGER NOT NULL, 
	skipped INTEGER NOT NULL, 
	note TEXT, 
	created_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	ended_at DOUBLE, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT ck_job_state CHECK (state IN ('scanning', 'queued', 'running', 'done', 'failed', 'cancelled')), 
	CONSTRAINT fk_job_recipe_id FOREIGN KEY(recipe_id) REFERENCES recipe (id)
);
INSERT INTO "job" VALUES(1,'caption','done','/srv/blipq/photos','demo',1,'{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/photos"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}',0,11.0,0.0,NULL,1.79573945217100381854e+09,11,0,NULL,1.79573945216698050491e+09,1.79573946528801178931e+09,1.79573946541498756404e+09);
INSERT INTO "job" VALUES(2,'caption','done','/srv/blipq/photos/001.png /srv/blipq/photos/002.png','demo',2,'{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/photos/001.png", "/srv/blipq/photos/002.png"], "recipe": {"num_beams": 2, "prompt": "", "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}',0,2.0,0.0,NULL,1.79573946609400224684e+09,2,0,NULL,1.79573946609098458295e+09,1.79573946952299165731e+09,1.79573946965201950072e+09);
INSERT INTO "job" VALUES(3,'train','done','/srv/blipq/taught','demo',NULL,'{"validation": 0.25, "epochs": 2}',0,1.0,0.0,NULL,1.79573947127498388283e+09,1,0,NULL,1.79573947127498388283e+09,1.79573947238300442698e+09,1.79573947645600581171e+09);
INSERT INTO "job" VALUES(4,'caption','running','/srv/blipq/later','demo',1,'{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/later"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}',0,3.0,0.0,NULL,1.7957394847320020198e+09,3,0,NULL,1.79573948472701311112e+09,1.7957394896420135498e+09,NULL);
INSERT INTO "job" VALUES(5,'caption','cancelled','/srv/blipq/never','demo',1,'{"mode": "fill", "precision": "auto", "batch_size": null, "paths": ["/srv/blipq/never"], "recipe": {"prompt": "", "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0}}',0,0.0,0.0,NULL,1.79573948542300605778e+09,3,0,NULL,1.79573948541898274419e+09,NULL,1.79573948654398179059e+09);
INSERT INTO "job" VALUES(6,'caption','queued','upload:frame.bmp','demo',NULL,'{}',10,0.0,0.0,1.79573954964301943783e+09,1.79573948964301943775e+09,1,0,NULL,1.79573948964301943775e+09,NULL,NULL);
CREATE TABLE loss (
	run_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	epoch DOUBLE NOT NULL, 
	loss DOUBLE NOT NULL, 
	unsmoothed DOUBLE NOT NULL, 
	learning_rate DOUBLE NOT NULL, 
	grad_norm DOUBLE, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_loss PRIMARY KEY (run_id, step), 
	CONSTRAINT fk_loss_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "loss" VALUES(1,1,1.0,9.9487628936767578125e+00,9.16600227355957,5.0e-05,3.39545555114746093754e+01,1.79573947639798974992e+09);
INSERT INTO "loss" VALUES(1,2,2.0,9.53266716003418,8.74791240692138671875e+00,5.0e-05,3.31168708801269531241e+01,1.79573947644699358945e+09);
CREATE TABLE queue (
	name TEXT NOT NULL, 
	paused BOOLEAN NOT NULL, 
	changed_at DOUBLE, 
	CONSTRAINT pk_queue PRIMARY KEY (name)
);
INSERT INTO "queue" VALUES('caption',1,1.79573948427298212045e+09);
CREATE TABLE recipe (
	id INTEGER NOT NULL, 
	hash BLOB NOT NULL, 
	model TEXT NOT NULL, 
	weights TEXT NOT NULL, 
	prompt TEXT NOT NULL, 
	num_beams INTEGER NOT NULL, 
	max_new_tokens INTEGER NOT NULL, 
	min_new_tokens INTEGER NOT NULL, 
	do_sample BOOLEAN NOT NULL, 
	top_p DOUBLE NOT NULL, 
	top_k INTEGER NOT NULL, 
	temperature DOUBLE NOT NULL, 
	repetition_penalty DOUBLE NOT NULL, 
	length_penalty DOUBLE NOT NULL, 
	no_repeat_ngram_size INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	preprocessing TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_recipe PRIMARY KEY (id), 
	CONSTRAINT uq_recipe_hash UNIQUE (hash)
);
INSERT INTO "recipe" VALUES(1,X'93496BB45B61584E8A20941DF2C13B03828486C6F604AD6914B55B02107294E1','demo','sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc','',1,20,0,0,1.0,50,1.0,1.0,1.0,0,0,'blipq-1',1.79573945216400337218e+09);
INSERT INTO "recipe" VALUES(2,X'12D4400D20426C4A059D96C69D2CDD88F6D4D4E49B68DD2BCFBBB7498BF72E3B','demo','sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc','',2,20,0,0,1.0,50,1.0,1.0,1.0,0,0,'blipq-1',1.79573946608800745008e+09);
CREATE TABLE remark (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	message TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_remark PRIMARY KEY (id), 
	CONSTRAINT fk_remark_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "remark" VALUES(1,1,'no split','','8 pictures are too few to hold some out (fewer than 20): no validation, no early stop, the last checkpoint counts as the best',1.79573947639899539948e+09);
INSERT INTO "remark" VALUES(2,1,'features','','0.1 MB of picture features for 8 pictures',1.79573947640000128747e+09);
INSERT INTO "remark" VALUES(3,1,'no evaluation','','no pictures were held out: nothing to compare base and tuned on',1.7957394764510169029e+09);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	unit_id INTEGER NOT NULL, 
	base TEXT NOT NULL, 
	weights TEXT, 
	data TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	folder TEXT, 
	pictures INTEGER, 
	steps INTEGER, 
	note TEXT, 
	started_at DOUBLE, 
	ended_at DOUBLE, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT fk_run_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_run_unit_id FOREIGN KEY(unit_id) REFERENCES unit (id)
);
INSERT INTO "run" VALUES(1,3,4,'demo','sha256:a77f0eba2c0a4deb04e2ee01acdc9a8f4aab35af167ab03e8cdab3e08bec45cc','/srv/blipq/taught','{"image_column": null, "text_column": null, "split": "train", "validation": 0.25, "prompt": "", "epochs": 2, "patience": 0, "lr": 5e-05, "batch_size": 8, "accumulation": 1, "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "precision": "auto", "freeze": "vision", "lora": false, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "gradient_checkpointing": false, "image_size": null, "max_length": 40, "label_smoothing": 0.1, "augment": false, "seed": 0, "keep": 2, "checkpoint_every": null}','/srv/blipq/home/runs/1',8,2,'all epochs are done',1.79573947238501596453e+09,1.7957394764510169029e+09,1.79573947127598977091e+09);
CREATE TABLE unit (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	state TEXT NOT NULL, 
	worker_id INTEGER, 
	fence INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	run_after DOUBLE NOT NULL, 
	lease_until DOUBLE, 
	pictures INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	CONSTRAINT pk_unit PRIMARY KEY (id), 
	CONSTRAINT ck_unit_state CHECK (state IN ('queued', 'running', 'done', 'split', 'failed', 'cancelled')), 
	CONSTRAINT fk_unit_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_unit_worker_id FOREIGN KEY(worker_id) REFERENCES worker (id)
);
INSERT INTO "unit" VALUES(1,1,'caption','done',2,2,0,0.0,NULL,8,8,0);
INSERT INTO "unit" VALUES(2,1,'caption','done',2,2,0,0.0,NULL,3,2,1);
INSERT INTO "unit" VALUES(3,2,'caption','done',2,2,0,0.0,NULL,2,2,0);
INSERT INTO "unit" VALUES(4,3,'train','done',1,2,0,0.0,NULL,1,1,0);
INSERT INTO "unit" VALUES(5,4,'caption','running',3,1,0,0.0,1.79573951964000201229e+09,3,0,0);
INSERT INTO "unit" VALUES(6,5,'caption','queued',NULL,0,0,0.0,NULL,3,0,0);
INSERT INTO "unit" VALUES(7,6,'caption','queued',NULL,0,0,0.0,NULL,1,0,0);
CREATE TABLE upload (
	file_id INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_upload PRIMARY KEY (file_id), 
	CONSTRAINT fk_upload_file_id FOREIGN KEY(file_id) REFERENCES file (id)
);
INSERT INTO "upload" VALUES(18,X'6279746573206F6620612070696374757265',1.7957394896439850331e+09);
CREATE TABLE worker (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	device TEXT, 
	versions TEXT NOT NULL, 
	state TEXT NOT NULL, 
	model TEXT, 
	rate DOUBLE, 
	note TEXT, 
	started_at DOUBLE NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	CONSTRAINT pk_worker PRIMARY KEY (id)
);
INSERT INTO "worker" VALUES(1,'train@host-a:14112','host-a',14112,'train','cpu','Python 3.11.7, blipq 0.1.0, torch 2.13.0+cpu, transformers 5.23.0, pillow 13.0.0','stopped',NULL,NULL,NULL,1.79573945466698694228e+09,1.79573948906301856043e+09);
INSERT INTO "worker" VALUES(2,'caption@host-a:14111','host-a',14111,'caption','cpu','Python 3.11.7, blipq 0.1.0, torch 2.13.0+cpu, transformers 5.23.0, pillow 13.0.0','stopped',NULL,NULL,NULL,1.79573945499299621577e+09,1.79573948907098484041e+09);
INSERT INTO "worker" VALUES(3,'caption@host-a:14099','host-a',14099,'caption','cpu','Python 3.11.7, blipq 0.1.0','starting',NULL,NULL,NULL,1.79573948963698434835e+09,1.79573948963698434835e+09);
CREATE INDEX ix_alias_weights ON alias (weights);
CREATE INDEX ix_worker_seen_at ON worker (seen_at);
CREATE INDEX ix_caption_recipe_id ON caption (recipe_id);
CREATE UNIQUE INDEX uq_caption_image_id_recipe_id ON caption (image_id, recipe_id);
CREATE INDEX ix_edit_image_id ON edit (image_id);
CREATE INDEX ix_file_image_id ON file (image_id);
CREATE INDEX ix_file_size_known ON file (size) WHERE image_id IS NOT NULL;
CREATE INDEX ix_job_state ON job (state);
CREATE INDEX ix_failure_file_id ON failure (file_id);
CREATE UNIQUE INDEX uq_failure_job_id_file_id ON failure (job_id, file_id);
CREATE INDEX ix_unit_due ON unit (job_id, id) WHERE state = 'queued';
CREATE INDEX ix_unit_job_id_state ON unit (job_id, state);
CREATE INDEX ix_unit_leased ON unit (lease_until) WHERE state = 'running';
CREATE INDEX ix_item_file_id_job_id ON item (file_id, job_id);
CREATE INDEX ix_item_unit_id ON item (unit_id);
CREATE INDEX ix_run_job_id ON run (job_id);
CREATE UNIQUE INDEX uq_checkpoint_run_id_step ON checkpoint (run_id, step);
CREATE INDEX ix_evaluation_run_id ON evaluation (run_id);
CREATE UNIQUE INDEX uq_remark_run_id_kind_name_message ON remark (run_id, kind, name, message);
CREATE VIEW photos AS SELECT file.id AS file_id, file.path,
               coalesce(human.text, caption.text) AS caption,
               CASE WHEN human.text IS NOT NULL THEN 'human' WHEN caption.id IS NOT NULL THEN 'model' END AS source,
               recipe.model, caption.score, caption.flag, image.width, image.height, image.format,
               file.image_id, caption.id AS caption_id,
               datetime(coalesce(CASE WHEN human.text IS NOT NULL THEN human.created_at END, caption.created_at), 'unixepoch')
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
         WHERE file.path NOT LIKE 'upload:%';
CREATE VIEW results AS SELECT file.path, coalesce(human.text, caption.text) AS caption, caption.score, recipe.model, recipe.prompt,
               CASE WHEN human.text IS NOT NULL THEN 'human' ELSE 'model' END AS source,
               (SELECT max(item.job_id) FROM item JOIN job ON job.id = item.job_id
                 WHERE item.file_id = file.id AND job.recipe_id = caption.recipe_id) AS job,
               datetime(caption.created_at, 'unixepoch') AS created_at,
               caption.text AS model_caption, caption.flag, caption.precision, worker.name AS worker, worker.device,
               recipe.weights, recipe.num_beams, caption.id AS caption_id, caption.recipe_id, caption.image_id,
               file.id AS file_id
          FROM caption
          JOIN recipe ON recipe.id = caption.recipe_id
          JOIN file ON file.image_id = caption.image_id
          LEFT JOIN worker ON worker.id = caption.worker_id
          LEFT JOIN edit AS human ON human.id = (SELECT max(e.id) FROM edit AS e WHERE e.image_id = caption.image_id)
         WHERE file.path NOT LIKE 'upload:%';
CREATE VIEW failures AS SELECT file.path, failure.kind, failure.message, failure.attempts, failure.job_id AS job,
               datetime(failure.created_at, 'unixepoch') AS created_at, file.id AS file_id
          FROM failure JOIN file ON file.id = failure.file_id;
CREATE VIEW jobs AS SELECT job.id, job.kind, job.state, job.source, job.model, job.priority, job.total, job.skipped,
               coalesce(sum(unit.done), 0) AS done, coalesce(sum(unit.failed), 0) AS failed,
               coalesce(sum(CASE WHEN unit.state IN ('queued', 'running')
                                  AND job.state IN ('scanning', 'queued', 'running')
                                 THEN unit.pictures - unit.done - unit.failed END), 0) AS remaining,
               job.note, datetime(job.created_at, 'unixepoch') AS created_at, datetime(job.started_at, 'unixepoch') AS started_at,
               datetime(job.ended_at, 'unixepoch') AS ended_at, job.recipe_id
          FROM job LEFT JOIN unit ON unit.job_id = job.id
         GROUP BY job.id;
CREATE VIEW training_curve AS SELECT loss.run_id AS run, loss.step, loss.epoch, loss.loss, loss.unsmoothed, loss.learning_rate,
               loss.grad_norm, epoch.validation_loss, datetime(loss.created_at, 'unixepoch') AS created_at
          FROM loss LEFT JOIN epoch ON epoch.run_id = loss.run_id AND epoch.step = loss.step;
CREATE VIEW leaderboard AS SELECT run.id AS run, run.base, run.data, job.state,
               (SELECT min(epoch.validation_loss) FROM epoch WHERE epoch.run_id = run.id) AS validation_loss,
               (SELECT checkpoint.step FROM checkpoint WHERE checkpoint.run_id = run.id AND checkpoint.is_best
                 ORDER BY checkpoint.step DESC LIMIT 1) AS best_step,
               (SELECT evaluation.value FROM evaluation WHERE evaluation.run_id = run.id AND evaluation.metric = 'BLEU-4' AND evaluation.model = 'run:' || run.id ORDER BY evaluation.id DESC LIMIT 1) AS bleu_4, (SELECT evaluation.value FROM evaluation WHERE evaluation.run_id = run.id AND evaluation.metric = 'CIDEr-D' AND evaluation.model = 'run:' || run.id ORDER BY evaluation.id DESC LIMIT 1) AS cider_d, (SELECT evaluation.value FROM evaluation WHERE evaluation.run_id = run.id AND evaluation.metric = 'ROUGE-L' AND evaluation.model = 'run:' || run.id ORDER BY evaluation.id DESC LIMIT 1) AS rouge_l,
               (SELECT evaluation.value FROM evaluation WHERE evaluation.run_id = run.id AND evaluation.metric = 'METEOR' AND evaluation.model = 'run:' || run.id ORDER BY evaluation.id DESC LIMIT 1) AS meteor,
               run.pictures, run.plan, datetime(run.started_at, 'unixepoch') AS started_at, datetime(run.ended_at, 'unixepoch') AS ended_at
          FROM run JOIN job ON job.id = run.job_id;
COMMIT;
