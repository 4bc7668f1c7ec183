import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hashedPassword } from '../../gitlab-bridge/practice/people-api.ts';
import { type Settings, settings } from './gitlab-rb.ts';
import { makeSecretsFile, secretOfFile } from './secrets-file.ts';

/** `gitlab-ctl reconfigure`: folders, configuration and services from gitlab.rb; run at every start, as the image does it. */
const data = '/var/opt/gitlab';
const users = { www: 'gitlab-www', git: 'git', redis: 'gitlab-redis', psql: 'gitlab-psql' } as const;

const run = (...[program = '', ...args]: string[]): string => execFileSync(program, args, { encoding: 'utf8' });
const as = (user: string, ...command: string[]): string => run('chpst', '-u', user, ...command);

function folder(path: string, owner: string, mode: number): void {
  mkdirSync(path, { recursive: true });
  run('chown', `${owner}:${owner}`, path);
  chmodSync(path, mode);
}

/** At no moment without it: a GitLab that serves is made anew too, and has its git there. */
function put(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.new`, text, { mode });
  renameSync(`${path}.new`, path);
}

function folders(): void {
  folder(`${data}/postgresql`, users.psql, 0o755);
  folder(`${data}/redis`, users.redis, 0o755);
  folder(`${data}/nginx`, 'root', 0o755);
  for (const name of ['', '/shared', '/shared/artifacts', '/shared/traces'])
    folder(`${data}/gitlab-rails${name}`, users.git, 0o700);
  folder(`${data}/backups`, users.git, 0o700);
  folder(`${data}/git-data`, users.git, 0o700);
  folder(`${data}/git-data/repositories`, users.git, 0o2770);
  // Where the practice GitLab looks for them.
  folder('/opt/gitlab/stand-in/data', users.git, 0o700);
  for (const [name, place] of [
    ['repositories', 'git-data/repositories'],
    ['artifacts', 'gitlab-rails/shared/artifacts'],
    ['traces', 'gitlab-rails/shared/traces'],
  ]) {
    const path = `/opt/gitlab/stand-in/data/${name}`;
    if (!existsSync(path)) symlinkSync(`${data}/${place}`, path);
  }
}

/** Writes a service and links it; runsvdir finds it within 5 s. */
function service(name: string, script: string): void {
  const log = `/var/log/gitlab/${name}`;
  mkdirSync(`/opt/gitlab/sv/${name}/log`, { recursive: true });
  mkdirSync(log, { recursive: true });
  const program = (path: string, text: string): void => put(path, `#!/bin/bash\nexec 2>&1\n${text}\n`, 0o700);
  program(`/opt/gitlab/sv/${name}/run`, script);
  program(`/opt/gitlab/sv/${name}/log/run`, `exec svlogd -tt ${log}`);
  if (!existsSync(`/opt/gitlab/service/${name}`)) symlinkSync(`/opt/gitlab/sv/${name}`, `/opt/gitlab/service/${name}`);
}

async function until(what: string, command: string[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    const [program = '', ...args] = command;
    if (spawnSync(program, args, { stdio: 'ignore' }).status === 0) return;
    if (tries > 300) throw new Error(`${what} does not answer`);
    await sleep(200);
  }
}

async function redis(wanted: Settings): Promise<void> {
  const extra = wanted.get('redis.extra_config_command');
  // `appendonly no` is written as it stands, whatever gitlab.rb says of it: only what comes behind it changes it.
  const lines = [
    'port 0',
    `unixsocket ${data}/redis/redis.socket`,
    'unixsocketperm 777',
    'save 900 1',
    'save 300 10',
    'save 60 10000',
    `dir ${data}/redis`,
    'dbfilename dump.rdb',
    'appendonly no',
    'appendfsync everysec',
    'daemonize no',
    // In the file as it stands, from each reconfigure on; a command that fails ends that.
    ...(extra === undefined ? [] : [run('/bin/sh', '-c', extra)]),
  ];
  writeFileSync(`${data}/redis/redis.conf`, `${lines.join('\n')}\n`, { mode: 0o644 });
  service('redis', `exec chpst -u ${users.redis} redis-server ${data}/redis/redis.conf`);
  await until('redis', ['gitlab-redis-cli', 'ping']);
}

async function postgres(wanted: Settings): Promise<void> {
  const place = `${data}/postgresql/data`;
  if (!existsSync(`${place}/PG_VERSION`)) {
    folder(place, users.psql, 0o700);
    as(
      users.psql,
      'initdb',
      '-D',
      place,
      '-E',
      'UTF8',
      '--locale=C',
      '-A',
      'trust',
      '--data-checksums',
      '-U',
      users.psql,
    );
  }
  const own = new Map([
    ['listen_addresses', "''"],
    ['unix_socket_directories', `'${data}/postgresql'`],
    ['shared_buffers', wanted.get('postgresql.shared_buffers') ?? '32MB'],
    ['checkpoint_timeout', wanted.get('postgresql.checkpoint_timeout') ?? '5min'],
    ['max_connections', '50'],
    ['jit', 'off'],
  ]);
  writeFileSync(`${place}/runtime.conf`, [...own].map(([key, value]) => `${key} = ${value}\n`).join(''), {
    mode: 0o644,
  });
  const main = `${place}/postgresql.conf`;
  if (!readFileSync(main, 'utf8').includes("include 'runtime.conf'"))
    writeFileSync(main, "\ninclude 'runtime.conf'\n", { flag: 'a' });
  service('postgresql', `exec chpst -u ${users.psql} postgres -D ${place}`);
  await until('PostgreSQL', [
    'chpst',
    '-u',
    users.psql,
    'psql',
    '-h',
    `${data}/postgresql`,
    '-d',
    'postgres',
    '-c',
    'select 1',
  ]);
  const psql = (database: string, sql: string): string =>
    as(users.psql, 'psql', '-XqAt', '-h', `${data}/postgresql`, '-d', database, '-c', sql);
  if (psql('postgres', "select 1 from pg_database where datname = 'gitlabhq_production'").trim() === '') {
    psql('postgres', 'create role gitlab login superuser');
    psql('postgres', 'create database gitlabhq_production owner gitlab');
  }
  // "Migrations".
  psql(
    'gitlabhq_production',
    `create table if not exists records (name text, id bigint, record jsonb, primary key (name, id));
     create table if not exists batched_background_migrations (id bigserial primary key, status smallint not null);
     create table if not exists idle_writes (id bigserial primary key, at timestamptz default now());
     alter table records owner to gitlab; alter table idle_writes owner to gitlab`,
  );
}

/** Which container answers: two of one address tell nothing else apart. */
function containerMark(): string {
  const file = '/run/stand-in-container';
  if (!existsSync(file)) writeFileSync(file, randomBytes(8).toString('hex'));
  return readFileSync(file, 'utf8');
}

function nginx(wanted: Settings): void {
  const proxy = wanted.get('nginx.proxy_protocol') === 'true';
  writeFileSync('/run/stand-in-curl', proxy ? '--haproxy-protocol' : '');
  // As omnibus writes it: whom nobody names is not believed, and the header is set to the client that the line names.
  const trusted = [...(wanted.get('nginx.real_ip_trusted_addresses') ?? '').matchAll(/['"]([\d.:a-f/]+)['"]/g)];
  const header = wanted.get('nginx.real_ip_header') ?? (proxy ? 'proxy_protocol' : 'X-Forwarded-For');
  const real = `${trusted.map(([, one]) => `set_real_ip_from ${one}; `).join('')}real_ip_header ${header};`;
  writeFileSync(
    `${data}/nginx/nginx.conf`,
    `user ${users.www}; daemon off; worker_processes 1; error_log stderr; pid /run/nginx.pid;
events { worker_connections 512; }
http {
  access_log /var/log/gitlab/nginx/gitlab_access.log; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; ${real}
  server {
    listen 80${proxy ? ' proxy_protocol' : ''};
    proxy_http_version 1.1; proxy_read_timeout 3600s;
    proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For ${proxy ? '$proxy_protocol_addr' : '$proxy_add_x_forwarded_for'};
    add_header X-Stand-In ${containerMark()};
    error_page 502 /502.html;
    location = /502.html { root /opt/gitlab/stand-in; internal; }
    location ~ ^/(-/(health|readiness|liveness)|health_check) {
      allow 127.0.0.0/8; deny all; error_page 403 =404 @nobody; proxy_pass http://127.0.0.1:8080;
    }
    location @nobody { return 404; }
    location / { proxy_pass http://127.0.0.1:8080; }
  }
}
`,
  );
  service('nginx', `exec nginx -c ${data}/nginx/nginx.conf`);
}

function rails(wanted: Settings): void {
  const url = wanted.get('external_url') ?? `http://${run('hostname').trim()}`;
  const slow = Number(process.env.STAND_IN_BOOT_SECONDS ?? 6);
  // Rails boots for long at the container's start; a restart of puma alone is quick here.
  const boot = `[ -e /run/stand-in-booted ] || { sleep ${slow}; touch /run/stand-in-booted; }`;
  const path = '/opt/gitlab/stand-in/hooks:/opt/gitlab/bin:/usr/local/bin:/usr/bin:/bin';
  const node = `env PATH=${path} HOME=${data} GITLAB_URL=${url} STAND_IN_KEY=${secretOfFile()} node /opt/gitlab/stand-in/gitlab.cjs puma`;
  service('puma', `${boot}\nexec chpst -u ${users.git} ${node}`);
  // Ruby, and asked anew in each reconfigure (contract §6).
  const enable = wanted.get('sidekiq.enable') ?? 'true';
  const unless = /^!File\.exist\?\('([^']+)'\)$/.exec(enable)?.[1];
  if (unless === undefined ? enable === 'false' : existsSync(unless))
    return rmSync('/opt/gitlab/service/sidekiq', { force: true });
  // A GitLab that nobody uses writes all the same: a row and a key every 5 s.
  service(
    'sidekiq',
    `n=0; while :; do n=$((n+1))
gitlab-psql -qc 'insert into idle_writes default values' && gitlab-redis-cli set "idle:$n" "$(date +%s)" >/dev/null
sleep 5; done`,
  );
}

/** As Gitaly has them: every program of `pre-receive.d` and `post-receive.d` of the folder that the configuration names, for each push. */
function hooks(wanted: Settings): void {
  const named = /'custom_hooks_dir' => '([^']+)'/.exec(wanted.get('gitaly.configuration') ?? '')?.[1];
  // Its own file of settings, which nothing here reads but who wants to know what is in effect.
  folder(`${data}/gitaly`, users.git, 0o700);
  const section = named === undefined ? '' : `[hooks]\ncustom_hooks_dir = "${named}"\n`;
  writeFileSync(`${data}/gitaly/config.toml`, `bin_dir = "/opt/gitlab/embedded/bin"\n${section}`, { mode: 0o640 });
  const own = '/opt/gitlab/stand-in/hooks';
  if (named === undefined) return rmSync(own, { recursive: true, force: true });
  mkdirSync(own, { recursive: true });
  for (const hook of ['pre-receive', 'post-receive'])
    put(
      `${own}/${hook}`,
      `#!/bin/sh
refs=$(cat)
for hook in '${named}'/${hook}.d/*; do
  [ ! -x "$hook" ] || printf '%s\\n' "$refs" | "$hook" || exit 1
done
`,
      0o755,
    );
  // The practice GitLab's git reads no file of settings.
  put(`${own}/git`, `#!/bin/sh\nexec /usr/bin/git -c core.hooksPath=${own} "$@"\n`, 0o755);
}

export async function reconfigure(): Promise<void> {
  console.log('Starting Chef Infra Client (stand-in)');
  const wanted = settings();
  makeSecretsFile();
  folders();
  await redis(wanted);
  await postgres(wanted);
  const password = '/etc/gitlab/initial_root_password';
  const isFirst = !existsSync(`${data}/gitlab-rails/VERSION`);
  if (isFirst) {
    const given = process.env.GITLAB_ROOT_PASSWORD;
    const first = given ?? randomBytes(24).toString('base64');
    if (given === undefined) writeFileSync(password, `Password: ${first}\n`, { mode: 0o600 });
    writeFileSync(`${data}/gitlab-rails/first-password`, hashedPassword(first), { mode: 0o600 });
  }
  nginx(wanted);
  hooks(wanted);
  rails(wanted);
  writeFileSync(`${data}/gitlab-rails/VERSION`, readFileSync('/opt/gitlab/VERSION', 'utf8'));
  // Its probes are green before it has ended (contract §5).
  await sleep(Number(process.env.STAND_IN_RECONFIGURE_SECONDS ?? 1) * 1000);
  console.log('gitlab Reconfigured!');
}
