import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { bringLfs } from '../../node/runs/git-lfs.ts';
import { RunLab } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());
// On a machine whose git has git-lfs, a push would look for the files behind the pointers.
vi.stubEnv('GIT_LFS_SKIP_PUSH', '1');

const shaOf = (content: string): string => createHash('sha256').update(content).digest('hex');
const pointerOf = (content: string): string =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${shaOf(content)}\nsize ${Buffer.byteLength(content)}\n`;
const big = 'large file of LFS\n'.repeat(100_000);

/** As git-lfs does it: the batch call says where, the bytes go there. */
async function upload(content: string): Promise<void> {
  const { username, password, origin, pathname } = new URL(lab.address);
  const headers = {
    Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
    'Content-Type': 'application/vnd.git-lfs+json',
  };
  const objects = [{ oid: shaOf(content), size: Buffer.byteLength(content) }];
  const body = JSON.stringify({ operation: 'upload', transfers: ['basic'], objects });
  const answer = await fetch(`${origin}${pathname}/info/lfs/objects/batch`, { method: 'POST', headers, body });
  const [object] = ((await answer.json()) as { objects: { actions?: { upload: { href: string } } }[] }).objects;
  const put = await fetch(object?.actions?.upload.href ?? '', { method: 'PUT', headers, body: content });
  expect(put.status).toBe(200);
}

it('files of Git LFS come with the sources, by the job’s token, checked, and once for the machine', async () => {
  lab = await RunLab.start({
    '.gitlab-ci.yml': `
all: { script: ['wc -c <big.bin; cat "sub/gr\u00f6ße.bin"; sh run.bin; head -c 11 plain.txt'] }
pointers: { variables: { GIT_LFS_SKIP_SMUDGE: "true" }, script: ['head -n 1 big.bin'] }
kept: { variables: { GIT_CLEAN_FLAGS: "none" }, script: ['wc -c <big.bin'] }
again: { variables: { GIT_CLEAN_FLAGS: "none" }, script: ['wc -c <big.bin'] }
changed: { script: ['wc -c <big.bin'] }
gone: { script: ['true'] }
`,
    '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
    'big.bin': pointerOf(big),
    'sub/größe.bin': pointerOf('small\n'),
    'run.bin': pointerOf('echo runs\n'),
    'plain.txt': `no pointer: ${pointerOf('x')}`,
  });
  for (const content of [big, 'small\n', 'echo runs\n']) await upload(content);
  await lab.agent();
  const all = await lab.traceOfNext();
  expect(all).toContain(`Git LFS: 3 files, 3 objects (`);
  expect(all).toContain(`\n${big.length}\nsmall\nruns\nno pointer:`);
  const pointers = await lab.traceOfNext();
  expect(pointers).toContain('$ head -n 1 big.bin\nversion https://git-lfs.github.com/spec/v1\n');
  expect(pointers).not.toContain('Git LFS');
  for (const _ of ['kept', 'again']) {
    const trace = await lab.traceOfNext();
    expect(trace).toContain('Git LFS: 3 files, 0 objects (0 B) fetched');
    expect(trace).toContain(`\n${big.length}\n`);
  }
  // What the server gives is something else, of the same length: it never reaches a job.
  const [mirror = ''] = readdirSync(join(lab.home, 'mirrors')).filter((name) => name.endsWith('.git'));
  const store = join(lab.home, 'mirrors', mirror, 'lfs');
  rmSync(store, { recursive: true });
  const objects = readdirSync(join(lab.folder, 'gitlab'), { recursive: true, encoding: 'utf8' });
  const object = join(lab.folder, 'gitlab', objects.find((path) => path.endsWith(shaOf(big))) ?? '');
  writeFileSync(object, readFileSync(object, 'utf8').replace('large', 'LARGE'));
  const changed = await lab.traceOfNext('failed');
  expect(changed).toContain(
    'what GitLab gave is something else (big.bin); GIT_LFS_SKIP_SMUDGE: "true" leaves the pointers',
  );
  expect(existsSync(join(store, shaOf(big).slice(0, 2), shaOf(big)))).toBe(false);
  rmSync(object);
  // GitLab does not give it to this job: that it lies here from another one is no right to it.
  mkdirSync(join(store, shaOf(big).slice(0, 2)), { recursive: true });
  writeFileSync(join(store, shaOf(big).slice(0, 2), shaOf(big)), big);
  expect(await lab.traceOfNext('failed')).toMatch(/Object does not exist on the server.* \(big\.bin\); GIT_LFS_SKIP/);
});

it('so do those that only a .gitattributes below the top folder names, as with git-lfs', async () => {
  lab = await RunLab.start({
    '.gitlab-ci.yml': `
below: { script: ['wc -c <data/set/a.dat'] }
`,
    'data/set/.gitattributes': '*.dat filter=lfs diff=lfs merge=lfs -text\n',
    'data/set/a.dat': pointerOf(big),
  });
  await upload(big);
  await lab.agent();
  expect(await lab.traceOfNext()).toContain(`\n${big.length}\n`);
});

it('nothing comes any more for a job that one of its objects has failed', async () => {
  const [missing, ...others] = ['missing', ...Array.from({ length: 8 }, (_, n) => `other ${n}`)];
  lab = await RunLab.start({
    '.gitlab-ci.yml': 'a: { script: ["true"] }\n',
    '.gitattributes': '*.bin filter=lfs -text\n',
    ...Object.fromEntries(others.map((content, n) => [`b${n}.bin`, pointerOf(content)])),
    'a.bin': pointerOf(missing as string),
  });
  const mirror = join(lab.folder, 'mirror.git');
  await lab.git('clone', '-q', '--mirror', '.', mirror);
  const sha = (await lab.git('rev-parse', 'HEAD')).stdout.trim();
  let open = 0;
  let asked = 0;
  // The others come, and never end.
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      const list = [missing as string, ...others].map((content) => ({
        oid: shaOf(content),
        actions: { download: { href: `http://${request.headers.host}/${shaOf(content)}` } },
      }));
      return void response.end(JSON.stringify({ objects: list }));
    }
    if (request.url === `/${shaOf(missing as string)}`)
      return void setTimeout(() => response.writeHead(404).end(), 300);
    asked += 1;
    open += 1;
    response.on('close', () => {
      open -= 1;
    });
    response.writeHead(200);
    response.flushHeaders();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/g/p.git`;
  const { signal } = new AbortController();
  try {
    const bringing = bringLfs({ mirror, sha, address, named: address, token: 't', signal });
    await expect(bringing).rejects.toThrow(/HTTP 404/);
    await expect.poll(() => open).toBe(0);
    expect(asked).toBeLessThan(4);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
