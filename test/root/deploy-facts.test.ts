import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deployFacts } from '../../node/hosting/deploy-facts.ts';
import { preflight } from '../../node/hosting/deploy-preflight.ts';
import { openPlace, removePlace } from '../../node/hosting/place-making.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** What a machine finds out about itself before GitLab is deployed on it, by its real engine, kernel and disks. */
const GiB = 2 ** 30;
const folder = mkdtempSync(join(tmpdir(), 't-hplace-facts-'));
const sources = { home: folder, mesh: 'mesh-1', dockerHost: null };
const container = `t-hplace-${process.pid}`;
const listening = createServer();
const hidden = createServer();
let [port, published] = [0, 0];

const open = (server: typeof listening, host: string): Promise<number> =>
  new Promise((done) => server.listen(0, host, () => done((server.address() as { port: number }).port)));

beforeAll(async () => {
  makeTestImages();
  port = await open(listening, '::');
  published = await open(hidden, '127.0.0.1');
  hidden.close();
  const line = ['run', '-d', '--name', container, '-p', `${published}:80`, testImages.bash, 'sleep', '60'];
  execFileSync('docker', line, { stdio: 'ignore' });
}, 180_000);
afterAll(() => {
  listening.close();
  execFileSync('docker', ['rm', '-f', container], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

describe('the facts for a deploy', () => {
  it('name the engine, the image, the room, and who has which port', async () => {
    const wanted = { image: testImages.bash, port, sshPort: published, data: null };
    const facts = await deployFacts(wanted, sources);
    expect(facts).toMatchObject({
      root: true,
      engine: { isLocal: true, architecture: expect.stringMatching(/^(amd64|arm64)$/) },
      image: { state: 'here' },
      hasNft: true,
      hasFreezer: true,
      place: { path: join(folder, 'gitlab'), content: 'absent', own: null, root: true },
    });
    expect(facts.totalMemoryBytes).toBeGreaterThan(GiB);
    const by = new Map(facts.taken.map((one) => [one.port, one.by]));
    expect(by.get(port)).toMatch(new RegExp(`\\(process ${process.pid}\\)$`));
    expect(facts.taken).toContainEqual({ port: published, by: `container ${container}` });
    const needs = { ...wanted, preset: 'minimal', leastMemoryBytes: GiB, leastDiskBytes: GiB };
    const free = preflight({ ...facts, taken: [] }, needs);
    expect(free.checks.filter(({ state }) => state === 'fail')).toEqual([]);
    expect(preflight(facts, needs).checks.find(({ what }) => what === 'ports')).toMatchObject({ state: 'fail' });
  });

  it('say which image cannot be had, and which engine is not there', async () => {
    const wanted = { image: 'localhost:1/t-hplace/none:1', port: 1, sshPort: null, data: null };
    const { image } = await deployFacts(wanted, sources);
    expect(image.state).toMatch(/^(missing|unknown)$/);
    expect(image.problem).not.toBeNull();
    const gone = await deployFacts(wanted, { ...sources, dockerHost: `unix://${folder}/none.sock` });
    expect(gone.engine).toMatchObject({ problem: expect.stringMatching(/does not answer/) });
    // A path of the engine's API is not made of a name.
    const odd = await deployFacts({ ...wanted, image: '../containers/json?all=1#' }, sources);
    expect(odd.image.state).not.toBe('here');
  });

  it('tell what lies in the folder: nothing, the owner’s, ours, and a damaged claim', async () => {
    const data = join(folder, 'data');
    const found = async (mesh = 'mesh-1') =>
      (await deployFacts({ image: 'x', port: 1, sshPort: null, data }, { ...sources, mesh, dockerHost: 'ssh://x' }))
        .place;
    mkdirSync(data);
    expect(await found()).toMatchObject({ content: 'empty', own: null });
    const place = { kind: 'folder' as const, path: data };
    const owner = { mesh: 'mesh-1', data: 'data-1', epoch: 1 };
    await openPlace(place, { ...owner, create: { bytes: 0, reserveBytes: 0 } });
    expect(await found()).toMatchObject({ content: 'place', own: { kind: 'folder', data: 'data-1' } });
    expect(await found('mesh-2')).toMatchObject({ content: 'place', own: null });
    const claim = join(data, 'autogit-place.json');
    execFileSync('cp', [claim, join(folder, 'claim')]);
    writeFileSync(claim, '{');
    expect(await found()).toMatchObject({
      problem: expect.stringMatching(/damaged/),
      fix: expect.stringMatching(/copy/),
    });
    execFileSync('cp', [join(folder, 'claim'), claim]);
    await removePlace(place, owner, { deleteData: true });
    mkdirSync(data);
    writeFileSync(join(data, 'holiday.jpg'), '');
    expect(await found()).toMatchObject({ content: 'foreign' });
  });

  it('say that nothing can be made there: a disk that is read-only, a folder that may not change', async () => {
    const shut = join(folder, 'shut');
    mkdirSync(shut);
    const found = async () =>
      (
        await deployFacts(
          { image: 'x', port: 1, sshPort: null, data: join(shut, 'gitlab') },
          { ...sources, dockerHost: 'ssh://x' },
        )
      ).place;
    execFileSync('sh', ['-c', 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"', 'sh', shut]);
    try {
      expect(await found()).toEqual({
        problem: `${shut} is on a disk that is read-only`,
        fix: expect.stringMatching(/--data DIR.*findmnt -T/),
      });
    } finally {
      execFileSync('umount', [shut]);
    }
    execFileSync('chattr', ['+i', shut]);
    try {
      expect(await found()).toEqual({
        problem: expect.stringContaining(`${shut} cannot be written: `),
        fix: expect.stringContaining('lsattr -d'),
      });
    } finally {
      execFileSync('chattr', ['-i', shut]);
    }
    expect(await found()).toMatchObject({ content: 'absent' });
  });
});
