import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/**
 * Images for tests, made of this machine's own programs by `docker import`: no registry is reachable. `bash` is what a
 * job usually finds (bash, coreutils, tar, git); `sh` is the least that an image must have: dash and a few commands;
 * `busybox` is what Alpine has: ash, and busybox for all commands.
 * `web` is the same as a service: it answers at port 8080 with what its variables say, a second after it began.
 */
export const testImages = {
  bash: 'autogit-test:bash',
  sh: 'autogit-test:sh',
  busybox: 'autogit-test:busybox',
  web: 'autogit-test-web:1',
} as const;

const coreutils =
  'cat chmod cp cut date dd echo env false head id kill ln ls mkdir mktemp mv printf pwd rm rmdir seq sleep sort stat tail tee test touch tr true uname wc yes'.split(
    ' ',
  );

const where = (name: string): string | null => {
  const found = spawnSync('bash', ['-c', `type -P ${name}`], { encoding: 'utf8' }).stdout.trim();
  return found === '' ? null : realpathSync(found);
};

/** The shared libraries of a program, its loader included. */
const libraries = (program: string): string[] => {
  const listed = spawnSync('ldd', [program], { encoding: 'utf8' });
  return [...listed.stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] as string);
};

const put = (root: string, from: string, to: string): void => {
  mkdirSync(dirname(join(root, to)), { recursive: true });
  cpSync(from, join(root, to), { dereference: true });
  chmodSync(join(root, to), 0o755);
};

const fill = (root: string, programs: string[], shell: string): void => {
  for (const folder of ['tmp', 'etc', 'root', 'bin', 'home/dev', 'usr/bin'])
    mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\ndev:x:1234:1234:dev:/home/dev:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\ndev:x:1234:\n');
  for (const name of programs) {
    const from = where(name);
    if (from === null) continue;
    put(root, from, `bin/${name}`);
    for (const library of libraries(from)) put(root, realpathSync(library), library.slice(1));
  }
  if (shell !== 'sh') symlinkSync(shell, join(root, 'bin/sh'));
};

const has = (image: string): boolean =>
  spawnSync('docker', ['image', 'inspect', image], { stdio: 'ignore' }).status === 0;

const entrypointOf = (image: string): string => {
  const asked = ['image', 'inspect', '--format', '{{json .Config.Entrypoint}}', image];
  const { status, stdout } = spawnSync('docker', asked, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'null';
};

const make = (image: string, fillIn: (root: string) => void, changes: string[] = []): void => {
  if (has(image)) return;
  const root = mkdtempSync(join(tmpdir(), 'autogit-image-'));
  try {
    fillIn(root);
    const tar = execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 1 << 30 });
    execFileSync('docker', ['import', ...changes.flatMap((change) => ['-c', change]), '-', image], { input: tar });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
};

const serve =
  'echo "web of $MODE begins"; sleep 1; mkdir -p /www; echo "$MODE $PASSWORD $SECRET." >/www/index.html; exec httpd -f -p 8080 -h /www';
const webChanges = ['EXPOSE 8080', `CMD ${JSON.stringify(['sh', '-c', serve])}`];

const fillWithBusybox = (root: string): void => {
  for (const folder of ['tmp', 'etc', 'bin']) mkdirSync(join(root, folder));
  put(root, where('busybox') as string, 'bin/busybox');
  const names = execFileSync('busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
  for (const name of names) if (name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
};

/** Makes the images where the engine lacks them; about a second. */
export function makeTestImages(): typeof testImages {
  // Once it had an entry point that ends at once, from the time when the executor left those out.
  if (entrypointOf(testImages.bash) !== 'null') spawnSync('docker', ['rmi', '--force', testImages.bash]);
  const usual = ['bash', 'git', 'tar', 'gzip', 'grep', 'sed', 'ps', 'setsid', 'find', ...coreutils];
  const least = ['dash', 'cat', 'sleep', 'ls', 'mkdir', 'id', 'env', 'tee', 'tail', 'head', 'wc'];
  make(testImages.bash, (root) => fill(root, usual, 'bash'));
  make(testImages.sh, (root) => fill(root, least, 'dash'), ['USER dev']);
  make(testImages.busybox, fillWithBusybox);
  make(testImages.web, fillWithBusybox, webChanges);
  return testImages;
}

/** For the bench: `bash` with zstd, and what makes a large tree of one stream. */
export function makeCacheImage(): string {
  const image = 'autogit-test-cache:2';
  const usual = ['bash', 'git', 'tar', 'gzip', 'grep', 'sed', 'ps', 'setsid', 'find', ...coreutils];
  make(image, (root) => fill(root, [...usual, 'xargs', 'zstd', 'split', 'base64'], 'bash'));
  return image;
}

/** Containers (`name|status`) and networks that the engine has of a run, its services' among them. */
export const leftOf = (run: string): string[] =>
  ['ps -a --format {{.Names}}|{{.Status}}', 'network ls --format {{.Name}}', 'volume ls -q'].flatMap((what) => {
    const asked = [...what.split(' '), '--filter', `label=autogit.run=${run}`];
    return execFileSync('docker', asked, { encoding: 'utf8' }).split('\n').filter(Boolean);
  });

/** The bridge that a node's executor made: an engine has address ranges for some 30 of them. */
export function removeNetwork(node: string): void {
  const found = execFileSync('docker', ['network', 'ls', '-q', '--filter', `label=autogit.node=${node}`]).toString();
  for (const id of found.split('\n').filter((line) => line !== '')) spawnSync('docker', ['network', 'rm', id]);
}
