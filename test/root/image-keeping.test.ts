import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { ensureImage } from '../../node/executors/docker-image.ts';
import type { DockerImages } from '../../node/executors/docker-images.ts';
import { never, specOf } from '../contract/executor-steps.ts';
import { imagesOf, OneImageRegistry } from './one-image-registry.ts';
import { removeNetwork } from './test-image.ts';

const docker = new Docker();
const cli = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8', stdio: 'pipe' }).trim();
/** As the owner does; the registry lives in this process. */
const ownerPulls = (name: string) => promisify(execFile)('docker', ['pull', '-q', `${address}/${name}`]);
const day = 86_400_000;
let registry: OneImageRegistry;
let address = '';
let home = '';
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 't-images-'));
});
beforeEach(async () => {
  registry = new OneImageRegistry();
  address = `${await registry.begin()}/t-images-${process.pid}`;
});
afterEach(async () => {
  await registry.end();
  const left = cli('images', '--format', '{{.Repository}}:{{.Tag}}')
    .split('\n')
    .filter((name) => name.includes(`/t-images-${process.pid}/`));
  for (const name of left) cli('rmi', '--force', name);
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** What a run's preparing does with its image; `login`: the user that its job has at the registry. */
async function begin(
  images: DockerImages,
  name: string,
  { project = 'P', policy = 'if-not-present', login = '', run = 'r1', whole = false } = {},
): Promise<string> {
  const auth = { auths: { [registry.address]: { auth: Buffer.from(`${login}:secret`).toString('base64') } } };
  const variables = login === '' ? [] : [{ key: 'DOCKER_AUTH_CONFIG', value: JSON.stringify(auth), file: false }];
  const image = whole ? name : `${address}/${name}`;
  const spec = { ...specOf(run, image, { pullPolicies: policy === '' ? [] : [policy], variables }), project };
  const asked = { docker, images, spec, image, note: () => undefined, signal: never };
  return (await ensureImage(asked)).id;
}
const has = (name: string): boolean => cli('images', '-q', `${address}/${name}`) !== '';

describe('images that jobs pulled', () => {
  it('go, the longest unused first, when room gets short; what the owner has or a run uses stays', async () => {
    let now = 1_000_000 * day;
    const tight = { roomPercent: 100, wallMs: () => now };
    const { images, lines } = imagesOf(docker, home, tight);
    const pulled = async (name: string): Promise<void> => {
      registry.version = name;
      now += day;
      await begin(images, name);
      images.release('r1');
    };
    registry.version = 'owner';
    await ownerPulls('owner');
    for (const name of ['owner', 'idle', 'contained', 'tagged', 'older', 'held']) await pulled(name);
    cli('create', '--name', `t-images-${process.pid}`, `${address}/contained`, 'nothing');
    cli('tag', `${address}/tagged`, `${address}/mine`);
    await begin(images, 'held', { run: 'r2' });
    registry.version = 'idle';
    await begin(images, 'idle');
    images.release('r1');
    now += day;
    await images.tidy();
    const all = ['owner', 'idle', 'contained', 'tagged', 'older', 'held'];
    expect(all.filter(has)).toEqual(['owner', 'contained', 'tagged', 'held']);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^removed images that jobs had pulled, since the engine's disk had \d+ % free, less than 100 %: \S+older:latest \(\d.* B\), \S+idle:latest \(.*\); .* came back, \d+ % is free now$/,
    );
    // The next agent knows what the one before pulled; what the owner made his own is his.
    cli('rm', `t-images-${process.pid}`);
    cli('rmi', `${address}/mine`);
    await imagesOf(docker, home, tight).images.tidy();
    expect(all.filter(has)).toEqual(['owner', 'tagged']);
  }, 60_000);

  it('are looked at by the executor itself; a job that could not begin holds none', async () => {
    const own = mkdtempSync(join(tmpdir(), 't-images-'));
    const lines: string[] = [];
    const say = (sentence: string): void => void lines.push(sentence);
    const log = { info: say, warn: say };
    let aheadMs = 0;
    const clock = { ...systemClock(), wallMs: () => Date.now() + aheadMs };
    const executor = new DockerExecutor({
      node: `t-images-${process.pid}`,
      home: own,
      imageRoomPercent: 100,
      log,
      clock,
    });
    registry.version = 'shell-less';
    const spec = { ...specOf(`k${process.pid}`, `${address}/shell-less`), project: 'P' };
    await expect(executor.prepare(spec, never)).rejects.toThrow(/cannot start a container/);
    expect(has('shell-less')).toBe(true);
    aheadMs = day;
    await executor.tidy();
    expect(has('shell-less')).toBe(false);
    expect(lines).toEqual([expect.stringMatching(/^removed images that jobs had pulled/)]);
    removeNetwork(`t-images-${process.pid}`);
    rmSync(own, { recursive: true });
  }, 60_000);

  it('go when nothing used them for long; with room and in use they stay', async () => {
    let now = 2_000_000 * day;
    const { images, lines } = imagesOf(docker, home, { ageMs: 30 * day, wallMs: () => now });
    for (const name of ['used', 'unused']) {
      registry.version = name;
      await begin(images, name);
      images.release('r1');
    }
    now += 29 * day;
    await begin(images, 'used');
    images.release('r1');
    await images.tidy();
    expect(['used', 'unused'].filter(has)).toEqual(['used', 'unused']);
    now += 2 * day;
    await images.tidy();
    expect(['used', 'unused'].filter(has)).toEqual(['used']);
    expect(lines).toEqual([expect.stringMatching(/since nothing used it for 31 d: \S+unused:latest /)]);
  }, 60_000);
});

describe('an image that a login opened', () => {
  const letIn = new Set<string>();
  const refused = (because: RegExp) => ({ code: 'image-missing', message: expect.stringMatching(because) });
  beforeEach(() => {
    letIn.clear();
    letIn.add('alice').add('bob');
    registry.letsIn = (user) => letIn.has(user);
  });

  it('is given to the projects that the registry lets in, each asked once, and to no other', async () => {
    const { images } = imagesOf(docker, home);
    registry.version = 'private';
    const id = await begin(images, 'private', { login: 'alice' });
    registry.asked = [];
    expect(await begin(images, 'private')).toBe(id);
    expect(await begin(images, 'private', { policy: 'never' })).toBe(id);
    expect(registry.asked).toEqual([]);
    const digest = cli('image', 'inspect', '--format', '{{index .RepoDigests 0}}', id);
    for (const more of [{}, { login: 'mallory' }])
      await expect(begin(images, 'private', { project: 'Q', ...more })).rejects.toMatchObject(
        refused(/pulled with the login of another project, and its registry does not give it to this job/),
      );
    for (const policy of ['always', ''])
      await expect(begin(images, 'private', { project: 'Q', policy })).rejects.toMatchObject(refused(/authoriz|auth/));
    await expect(begin(images, 'private', { project: 'Q', policy: 'never' })).rejects.toMatchObject(
      refused(/another project, and its pull_policy is never/),
    );
    // Neither by its digest nor by its number on this machine.
    for (const [name, policy] of [
      [digest, ''],
      [digest, 'never'],
      [id.slice(7, 19), 'never'],
      [id.slice(7, 19), ''],
      [id.slice(7, 19), 'if-not-present'],
    ] as const)
      await expect(begin(images, name, { project: 'Q', policy, whole: true })).rejects.toMatchObject(refused(/./));
    registry.asked = [];
    expect(await begin(images, 'private', { project: 'Q', login: 'bob' })).toBe(id);
    // The manifest and the image's description, no layer.
    expect(registry.asked.map((line) => line.replace(/.*(manifests|blobs).*/, '$1'))).toEqual(
      expect.arrayContaining(['manifests']),
    );
    expect(registry.asked.filter((line) => line.includes('/blobs/')).length).toBeLessThanOrEqual(1);
    registry.asked = [];
    // After a restart, too.
    expect(await begin(imagesOf(docker, home).images, 'private', { project: 'Q', policy: 'never' })).toBe(id);
    expect(registry.asked).toEqual([]);
    await registry.end();
    for (const policy of ['', 'if-not-present'])
      await expect(begin(images, 'private', { project: 'R', login: 'bob', policy })).rejects.toMatchObject(
        refused(/another project/),
      );
    expect(await begin(images, 'private', { policy: '', login: 'alice' })).toBe(id);
  }, 60_000);

  it('is not taken for the owner’s when the agent died while it was pulled', async () => {
    registry.version = 'torn';
    const { images } = imagesOf(docker, home);
    images.records.begin(`${address}/torn`, 'P');
    registry.letsIn = null;
    await ownerPulls('torn');
    registry.letsIn = (user) => letIn.has(user);
    const next = imagesOf(docker, home).images;
    await expect(begin(next, 'torn', { project: 'Q', policy: 'never' })).rejects.toMatchObject(refused(/never/));
    expect(await begin(next, 'torn', { policy: 'never' })).toMatch(/^sha256:/);
  }, 60_000);

  it('asks nothing of an image that needs no login, nor of the owner’s', async () => {
    registry.letsIn = null;
    const { images } = imagesOf(docker, home);
    registry.version = 'public';
    const id = await begin(images, 'public');
    registry.version = 'owner';
    await ownerPulls('owner');
    registry.asked = [];
    expect(await begin(images, 'public', { project: 'Q' })).toBe(id);
    expect(await begin(images, 'public', { project: 'Q', policy: 'never' })).toBe(id);
    await begin(images, 'owner', { project: 'Q', policy: 'never' });
    await begin(images, 'owner', { project: 'Q' });
    expect(registry.asked).toEqual([]);
    // One that a login brought although it needs none: the registry says so to the next project, and it is everybody's.
    registry.version = 'lent';
    await begin(images, 'lent', { login: 'alice' });
    await begin(images, 'lent', { project: 'Q' });
    registry.asked = [];
    await begin(images, 'lent', { project: 'R', policy: 'never' });
    expect(registry.asked).toEqual([]);
  }, 60_000);
});
