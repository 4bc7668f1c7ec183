import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { practiceVersion } from '../../gitlab-bridge/practice/practice-identity.ts';

/**
 * Makes the stand-in for GitLab's image (README.md) in an engine: Debian packages by debootstrap, once, kept as a tar and
 * as an image; above them the image of our own files, made again when one of them changes.
 */
const version = '19.3.0';
const packages = 'postgresql-15,redis-server,git,openssh-server,runit,procps,curl,nginx-light';
const mirror = 'http://deb.debian.org/debian';
const kept = '/var/tmp/autogit-gitlab-image';
/** As in GitLab's image: what lies on a data place belongs to these numbers. */
const users = { 'gitlab-www': 999, git: 998, 'gitlab-redis': 997, 'gitlab-psql': 996, registry: 993 };
const unneeded = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/info',
  'var/cache/apt',
  'var/lib/apt/lists',
  'var/lib/postgresql',
  'etc/postgresql',
  // The compiler of queries: a third of the whole.
  'usr/lib/postgresql/15/lib/bitcode',
  'usr/lib/postgresql/15/lib/llvmjit.so',
];

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const hashed = (...parts: (string | Buffer)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 12);
};

/** `host` is an engine's; undefined: this machine's own. */
const envOf = (host: string | undefined): NodeJS.ProcessEnv =>
  host === undefined ? process.env : { ...process.env, DOCKER_HOST: host };
const docker = (host: string | undefined, args: string[], input?: string): string =>
  execFileSync('docker', args, {
    env: envOf(host),
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(input === undefined ? {} : { input }),
  }).trim();
const has = (host: string | undefined, image: string): boolean =>
  spawnSync('docker', ['image', 'inspect', image], { env: envOf(host), stdio: 'ignore' }).status === 0;

function installDebootstrap(): void {
  if (spawnSync('sh', ['-c', 'command -v debootstrap'], { stdio: 'ignore' }).status === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const words = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends', 'debootstrap'];
  execFileSync('apt-get', words, { env, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** The tar of all that is not ours. */
function baseTar(): string {
  const tar = join(kept, `base-${hashed(packages, unneeded.join(), process.version)}.tar`);
  if (existsSync(tar)) return tar;
  installDebootstrap();
  mkdirSync(kept, { recursive: true, mode: 0o700 });
  const root = mkdtempSync(join(kept, 'root-'));
  try {
    const words = ['--variant=minbase', `--include=${packages}`, 'bookworm', root, mirror];
    execFileSync('debootstrap', words, { stdio: ['ignore', 'ignore', 'inherit'] });
    for (const path of unneeded) rmSync(join(root, path), { recursive: true, force: true });
    const libraries = join(root, 'usr/lib/x86_64-linux-gnu');
    for (const name of existsSync(libraries) ? readdirSync(libraries) : [])
      if (name.startsWith('libLLVM')) rmSync(join(libraries, name));
    for (const [name, id] of Object.entries(users)) {
      appendFileSync(join(root, 'etc/passwd'), `${name}:x:${id}:${id}::/var/opt/gitlab:/bin/sh\n`);
      appendFileSync(join(root, 'etc/group'), `${name}:x:${id}:\n`);
      appendFileSync(join(root, 'etc/shadow'), `${name}:*:19000::::::\n`);
    }
    copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
    const embedded = join(root, 'opt/gitlab/embedded/bin');
    mkdirSync(embedded, { recursive: true });
    for (const folder of ['service', 'sv', 'stand-in']) mkdirSync(join(root, 'opt/gitlab', folder));
    for (const name of readdirSync(join(root, 'usr/lib/postgresql/15/bin')))
      symlinkSync(`/usr/lib/postgresql/15/bin/${name}`, join(embedded, name));
    execFileSync('tar', ['-C', root, '--numeric-owner', '-cf', `${tar}.new`, '.']);
    renameSync(`${tar}.new`, tar);
  } finally {
    spawnSync('umount', [join(root, 'proc')], { stdio: 'ignore' });
    rmSync(root, { recursive: true, force: true });
  }
  return tar;
}

async function bundle(): Promise<string> {
  const made = await build({
    entryPoints: [here('program.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    write: false,
    logLevel: 'error',
    plugins: [
      {
        name: 'records-in-postgresql',
        setup: ({ onResolve }) => {
          onResolve({ filter: /\/journal\.ts$/ }, () => ({ path: here('journal-postgres.ts') }));
          onResolve({ filter: /\/practice-identity\.ts$/ }, () => ({ path: here('image-identity.ts') }));
        },
      },
    ],
  });
  return made.outputFiles[0]?.text ?? '';
}

const page502 = readFileSync(here('root/502.html'), 'utf8');

const changes = [
  'CMD ["/assets/init-container"]',
  'ENV PATH=/opt/gitlab/bin:/opt/gitlab/embedded/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'EXPOSE 22 80 443',
  'VOLUME ["/etc/gitlab", "/var/opt/gitlab", "/var/log/gitlab"]',
  'HEALTHCHECK --interval=60s --timeout=30s --retries=5 CMD /opt/gitlab/bin/gitlab-healthcheck --fail --max-time 10',
];

/** Makes it where the engine lacks it; its name. The first time on a machine it takes a minute or two. */
export async function standInImage(host?: string): Promise<string> {
  const program = await bundle();
  const listed = execFileSync('find', [here('root'), '-type', 'f'], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .sort();
  const key = hashed(
    packages,
    version,
    practiceVersion,
    program,
    changes.join(),
    ...listed.map((file) => readFileSync(file)),
  );
  const image = `autogit-test:gitlab-${key}`;
  if (has(host, image)) return image;
  const tar = baseTar();
  const base = `autogit-test:gitlab-base-${hashed(tar)}`;
  if (!has(host, base)) docker(host, ['import', tar, base]);
  const files = mkdtempSync(join(tmpdir(), 'autogit-stand-in-'));
  const container = docker(host, ['create', base, 'true']);
  try {
    cpSync(here('root'), files, { recursive: true, mode: 0 });
    rmSync(join(files, '502.html'));
    mkdirSync(join(files, 'opt/gitlab/stand-in'), { recursive: true });
    writeFileSync(join(files, 'opt/gitlab/stand-in/gitlab.cjs'), program);
    writeFileSync(join(files, 'opt/gitlab/stand-in/502.html'), page502);
    writeFileSync(join(files, 'opt/gitlab/VERSION'), `${version}\n`);
    // As its API says it.
    mkdirSync(join(files, 'opt/gitlab/embedded/service/gitlab-rails'), { recursive: true });
    writeFileSync(join(files, 'opt/gitlab/embedded/service/gitlab-rails/VERSION'), `${practiceVersion}\n`);
    docker(host, ['cp', `${files}/.`, `${container}:/`]);
    docker(host, ['commit', ...changes.flatMap((change) => ['--change', change]), container, image]);
  } finally {
    docker(host, ['rm', container]);
    rmSync(files, { recursive: true, force: true });
  }
  return image;
}

/** That image as another version, by the name `tag`; `isBroken`: its container ends at once. A layer of a few bytes. */
export function standInVersion(image: string, tag: string, version: string, isBroken = false): void {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-stand-in-'));
  const container = docker(undefined, ['create', image]);
  try {
    writeFileSync(join(folder, 'VERSION'), `${version}\n`);
    docker(undefined, ['cp', join(folder, 'VERSION'), `${container}:/opt/gitlab/VERSION`]);
    const changes = isBroken ? ['--change', 'CMD ["/bin/sh", "-c", "echo it cannot be begun >&2; exit 1"]'] : [];
    docker(undefined, ['commit', ...changes, container, tag]);
  } finally {
    docker(undefined, ['rm', container]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** From one engine, this machine's own unless another one is named, into one that lacks it; without a file between. */
export async function hand(image: string, to: string, from?: string): Promise<void> {
  if (has(to, image)) return;
  const save = spawn('docker', ['save', image], { env: envOf(from), stdio: ['ignore', 'pipe', 'inherit'] });
  const into = spawn('docker', ['load'], { env: envOf(to), stdio: [save.stdout, 'ignore', 'inherit'] });
  const code = await new Promise((done) => into.on('close', done));
  if (code !== 0) throw new Error(`${image} could not be handed to ${to}`);
}
