import { describe, expect, it } from 'vitest';
import type { DeployFacts } from '../../node/hosting/deploy-facts.ts';
import { type DeployNeeds, preflight } from '../../node/hosting/deploy-preflight.ts';
import { listenersIn } from '../../node/hosting/ports-taken.ts';
import { asRootService } from '../../node/machine/as-service.ts';

const GiB = 2 ** 30;
const engine = { version: '29.1.0', apiVersion: 1.52, architecture: 'amd64', isLocal: true };
const place = {
  path: '/var/lib/autogit-node/gitlab',
  content: 'absent' as const,
  own: null,
  fileSystem: 'ext4',
  root: true,
  missing: [],
  totalBytes: 500 * GiB,
  freeBytes: 300 * GiB,
};
const facts = (over: Partial<DeployFacts> = {}): DeployFacts => ({
  root: true,
  engine,
  image: { state: 'here', architectures: ['amd64'], problem: null },
  totalMemoryBytes: 32 * GiB,
  availableMemoryBytes: 24 * GiB,
  taken: [],
  hasNft: true,
  hasFreezer: true,
  gitlabs: [],
  place,
  ...over,
});
const needs: DeployNeeds = {
  image: 'gitlab/gitlab-ce:19.4.1-ce.0',
  preset: 'homelab',
  port: 8080,
  sshPort: 2222,
  leastMemoryBytes: 4 * GiB,
  leastDiskBytes: 40 * GiB,
};

describe('a machine that shall run GitLab', () => {
  it('with all that it takes: each thing in a line, and where the data will lie', () => {
    const { checks, place: chosen } = preflight(facts(), needs);
    expect(checks.map(({ what, state, sentence }) => `${state} ${what}: ${sentence}`)).toEqual([
      'ok machine: amd64, agent as root, Docker 29.1.0',
      'ok image: gitlab/gitlab-ce:19.4.1-ce.0, which is here',
      'ok memory: 24 GiB free; preset homelab takes 4 GiB',
      'ok place: /var/lib/autogit-node/gitlab is on ext4: an image with btrfs, its room taken beforehand',
      'ok ports: 8080 (pages), 2222 (ssh)',
    ]);
    expect(chosen).toMatchObject({ kind: 'image', path: place.path, data: null });
  });

  it.each<[string, Partial<DeployFacts>, string, RegExp, RegExp]>([
    ['no root', { root: false }, 'fail machine', /does not run as root/, RegExp(`^${asRootService()}$`)],
    ['no engine', { engine: { problem: 'there is no engine', fix: 'x: y' } }, 'fail engine', /no engine/, /x: y/],
    ['a far engine', { engine: { ...engine, isLocal: false } }, 'fail engine', /not of this machine/, /--docker-host/],
    ['an old engine', { engine: { ...engine, apiVersion: 1.4 } }, 'fail engine', /too old/, /docs.docker.com/],
    ['an engine of no age', { engine: { ...engine, apiVersion: Number.NaN } }, 'fail engine', /too old/, /install/],
    [
      'an image of another kind',
      { image: { state: 'here', architectures: ['arm64'], problem: null } },
      'fail image',
      /is for arm64, and this machine is amd64/,
      /--image IMAGE.*--on NAME/,
    ],
    [
      'no such image',
      { image: { state: 'missing', architectures: [], problem: 'manifest unknown' } },
      'fail image',
      /cannot be had: manifest unknown/,
      /^docker pull gitlab/,
    ],
    [
      'a silent registry',
      { image: { state: 'unknown', architectures: [], problem: 'no answer within 5 s' } },
      'warn image',
      /gave no answer: no answer within 5 s/,
      /^docker pull/,
    ],
    ['too small', { totalMemoryBytes: 2 * GiB }, 'fail memory', /has 2 GiB, and preset homelab needs 4 GiB/, /minimal/],
    ['busy', { availableMemoryBytes: GiB }, 'warn memory', /swapped out/, /ps aux/],
    ['a full disk', { place: { ...place, freeBytes: 60 * GiB } }, 'fail place', /needs 40 GiB/, /make room/],
    ['no tools', { place: { ...place, missing: ['mkfs.btrfs'] } }, 'warn place', /cannot move by itself/, /^$/],
    [
      'no folder',
      { place: { problem: 'cannot be looked at', fix: 'name another: DIR' } },
      'fail place',
      /looked/,
      /DIR/,
    ],
    [
      'a taken port',
      { taken: [{ port: 2222, by: 'sshd (process 7)' }] },
      'fail ports',
      /port 2222 is taken by sshd \(process 7\)/,
      /--ssh-port/,
    ],
    ['no nft', { hasNft: false }, 'fail guard', /nft does not work/, /apt-get install nftables/],
    ['no freezer', { hasFreezer: false }, 'fail freezer', /stopped in time/, /findmnt/],
    [
      'a GitLab already',
      { gitlabs: [{ container: 'gitlab', version: '17.5.1', isRunning: true, url: 'http://a.lan' }] },
      'warn gitlab',
      /GitLab 17.5.1 runs here already, in container gitlab: the new one is another, and empty/,
      /autogit-node gitlab adopt gitlab$/,
    ],
  ])('%s', (_name, over, what, sentence, fix) => {
    const { checks } = preflight(facts(over), needs);
    const bad = checks.filter(({ state }) => state !== 'ok');
    expect(bad.map((one) => `${one.state} ${one.what}`)).toEqual([what]);
    expect(bad[0]?.sentence).toMatch(sentence);
    expect(bad[0]?.fix ?? '').toMatch(fix);
  });

  it('has one port for one thing, and needs none for ssh', () => {
    const said = (over: Partial<DeployNeeds>) =>
      preflight(facts(), { ...needs, ...over }).checks.find(({ what }) => what === 'ports');
    expect(said({ sshPort: 8080 })).toMatchObject({ state: 'fail', fix: expect.stringMatching(/--ssh-port/) });
    expect(said({ sshPort: null })).toMatchObject({ state: 'ok', sentence: '8080 (pages)' });
    // A registry that lists no kinds is believed.
    expect(
      preflight(facts({ image: { state: 'pullable', architectures: [], problem: null } }), needs).checks.filter(
        ({ state }) => state !== 'ok',
      ),
    ).toEqual([]);
  });
});

it('a table of sockets gives those that listen', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1065 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:8EE7 06 00000000:00000000 03:000011EE 00000000     0        0 0 3 000000007d78040b
   2: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 77 1`;
  expect(listenersIn(table)).toEqual([
    { port: 2024, inode: '1065' },
    { port: 8080, inode: '77' },
  ]);
  expect(listenersIn('')).toEqual([]);
});

it('what a smaller preset has room for is no reason to buy a disk', () => {
  const fixOf = (preset: string) =>
    preflight(facts({ place: { ...place, freeBytes: 60 * GiB } }), { ...needs, preset }).checks.find(
      ({ what, state }) => what === 'place' && state === 'fail',
    )?.fix;
  expect(fixOf('homelab')).toContain('take a smaller one (--preset minimal)');
  expect(fixOf('minimal')).toBe('make room, or name a folder on another disk: --data DIR');
});
