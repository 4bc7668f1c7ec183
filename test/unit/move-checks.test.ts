import { describe, expect, it } from 'vitest';
import type { DeployFacts } from '../../node/hosting/deploy-facts.ts';
import { hostChecks, ownerCheck, targetChecks } from '../../node/hosting/move/move-checks.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** What is said before GitLab moves, of the machine that it leaves and of the one to which it goes. */
const GiB = 2 ** 30;
const facts: DeployFacts = {
  root: true,
  engine: { version: '27.3.1', apiVersion: 1.47, architecture: 'amd64', isLocal: true },
  image: { state: 'pullable', architectures: ['amd64'], problem: null },
  totalMemoryBytes: 32 * GiB,
  availableMemoryBytes: 11 * GiB,
  taken: [],
  hasNft: true,
  hasFreezer: true,
  gitlabs: [{ container: 'other', version: '19.0.0', isRunning: true, url: null }],
  place: { problem: 'it is not looked at', fix: 'its copies say more' },
};
const target = {
  ...{ hosting: { ...hostedGitlab(), host: 'A', epoch: 3 }, facts, freeBytes: 120 * GiB },
  place: { kind: 'image' as const, path: '/srv/copies' },
  ...{ certificate: null, running: 0 },
};
const lines = (more: Partial<typeof target> | object = {}): string[] =>
  targetChecks({ ...target, ...more }).map(({ state, what, sentence }) => `${state} ${what}: ${sentence}`);
const fails = (more: object): string[] => lines(more).filter((line) => line.startsWith('fail'));

describe('the machine to which it goes', () => {
  it('is fit by what a deploy asks, but for the place, which is that of its copies', () => {
    expect(fails({})).toEqual([]);
    expect(lines()).toContain("ok place: its copies in /srv/copies become GitLab's data; 120 GiB are free");
    // Another machine is the better one then, also where nobody asks.
    const narrow =
      "warn place: its copies in /srv/copies become GitLab's data; 300 MiB are free, and GitLab stops at a full disk";
    expect(lines({ freeBytes: 300 << 20 })).toContain(narrow);
    // Another GitLab there is in the way only by its ports.
    expect(lines().filter((line) => line.includes('the new one is another'))).toEqual([]);
    expect(lines({ running: 2 })).toContain(
      'ok jobs: 2 jobs of the mesh run there and go on: none is ended to make room',
    );
  });

  it.each([
    ['copies that are not open', { place: { problem: 'its disk is away' } }, 'its disk is away'],
    ['a certificate of another', { certificate: 'the certificate is not for 10.0.0.2' }, 'is not for 10.0.0.2'],
    ['a port', { facts: { ...facts, taken: [{ port: 8929, by: 'nginx' }] } }, 'port 8929 is taken by nginx'],
    ['memory', { facts: { ...facts, totalMemoryBytes: GiB } }, 'this machine has 1 GiB'],
    [
      'another kind of machine',
      { facts: { ...facts, image: { ...facts.image, architectures: ['arm64'] } } },
      'is for arm64',
    ],
    ['no root', { facts: { ...facts, root: false } }, 'does not run as root'],
    ['no engine', { facts: { ...facts, engine: { problem: 'there is none', fix: 'start it' } } }, 'there is none'],
  ])('is refused for %s', (_what, more, words) => {
    expect(fails(more)).toEqual([expect.stringContaining(words)]);
  });

  it('is refused while its owner wants it, and fit afterwards', () => {
    expect(ownerCheck('desktop-1', 'paused by its owner for 2 h')).toMatchObject([
      { state: 'fail', sentence: 'paused by its owner for 2 h', fix: expect.stringContaining('on desktop-1') },
    ]);
    expect(ownerCheck('desktop-1', null)).toEqual([]);
  });

  it('is told what helps a move, and no flag of a deploy', () => {
    const bad = { ...facts, taken: [{ port: 8929, by: 'nginx' }], totalMemoryBytes: GiB };
    const fixes = targetChecks({ ...target, facts: bad }).map(({ fix }) => fix ?? '');
    expect(fixes.filter((fix) => /--(on|port|preset|image)/.test(fix))).toEqual([]);
    const ofImage = (image: object): string | null | undefined =>
      targetChecks({ ...target, facts: { ...facts, image: { ...facts.image, ...image } } }).find(
        ({ what }) => what === 'image',
      )?.fix;
    expect(ofImage({ architectures: ['arm64'] })).toContain('machines of the same kind only');
    expect(ofImage({ state: 'unknown', problem: 'no answer within 5 s' })).toMatch(/^there: docker pull gitlab\//);
    expect(ofImage({ state: 'missing' })).toMatch(/^there: docker pull gitlab\//);
  });
});

describe('the machine that it leaves', () => {
  const now = { isServing: true, busy: null, lacks: null, ownBackups: null };
  it('serves, is at nothing else, and the other one is in sync', () => {
    expect(hostChecks(now).map(({ state, what }) => `${state} ${what}`)).toEqual(['ok copy']);
    const ill = hostChecks({
      isServing: false,
      busy: 'this machine is at a backup',
      lacks: 'desktop-1 is not in sync yet',
      ownBackups: '/mnt/disk',
    });
    expect(ill.map(({ state, what }) => `${state} ${what}`)).toEqual([
      ...['fail state', 'fail state', 'fail copy', 'warn backups'],
    ]);
  });
});
