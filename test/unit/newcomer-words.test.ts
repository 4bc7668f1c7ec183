import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { leaveSentence } from '../../node/agent/leave-words.ts';
import { PauseSwitch } from '../../node/agent/pause.ts';
import { gitlabView } from '../../node/cli/gitlab-commands.ts';
import { asShown } from '../../node/cli/mesh-commands.ts';
import { startedBySystemd } from '../../node/machine/as-service.ts';
import { prepareHome } from '../../node/store/home.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { Lab } from './jobs-lab.ts';
import { gpu3090, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

/** Words that a newcomer found untrue or missing where no other test has them. */
const store = { get: async () => null, put: async () => {} };

describe('a pause', () => {
  it('names the day too where the time alone could be that of another one', async () => {
    const now = new Date(2026, 10, 28, 8, 5).getTime();
    const pause = new PauseSwitch(store as never, () => now);
    await pause.pause('all', 2 * 3_600_000);
    expect(pause.state().because).toBe('paused by its owner until 10:05: no new work');
    await pause.pause('all', 50 * 3_600_000);
    expect(pause.state().because).toBe('paused by its owner until 2026-11-30 10:05: no new work');
  });

  it.each([
    ['leads, and has a GPU', true],
    ['has none', false],
  ])('of the GPU of a machine that %s is said by what it is', (_, hasGpu) => {
    const pausedBecause = 'paused by its owner until 10:05: no new GPU work';
    const kang = { ...measured(hasGpu ? { gpus_: [gpu3090] } : {}), paused: 'gpu' as const, pausedBecause };
    const lab = new Lab({ machines: { kang } });
    lab.run(3000);
    const lines = snapshot(viewOf(lab, 'kang')).attention.filter(({ code }) => code === 'gpu-paused');
    expect(lines).toEqual([
      {
        code: 'gpu-paused',
        severity: 'info',
        sentence: `kang  ${pausedBecause}`,
        fix: 'on kang: autogit-node resume --gpu',
      },
    ]);
  });
});

describe('the end of an agent', () => {
  it.each([
    [null, 0, 'this agent ends; it was in no mesh yet'],
    [true, 0, 'handed over; this agent ends'],
    [true, 1, 'handed over; this agent ends; 1 job waits here, frozen, for the agent to come back within a minute'],
    [false, 2, 'ends without a hand-over; 2 jobs wait here, frozen, for the agent to come back within a minute'],
  ])('%j with %i jobs', (handedOver, running, sentence) =>
    expect(leaveSentence(handedOver, running, false)).toBe(sentence),
  );
  it('where GitLab runs it says what becomes of it', () =>
    expect(leaveSentence(true, 0, true)).toBe(
      'handed over; this agent ends; GitLab serves on for 4 s, then it stands still here until the agent is back',
    ));
  it.each([
    ['0::/system.slice/autogit-node.service\n', 'sudo autogit-node service uninstall'],
    ['4:memory:/user.slice\n1:name=systemd:/system.slice/autogit-node.service\n', 'sudo systemctl stop autogit-node'],
    [
      '0::/user.slice/user-1000.slice/user@1000.service/app.slice/autogit-node.service\n',
      'autogit-node service uninstall --user',
    ],
  ])('that systemd starts it again, where it is a service (%j)', (cgroups, fix) =>
    expect(leaveSentence(true, 0, false, startedBySystemd(cgroups))).toMatch(
      new RegExp(`; systemd starts it again in 2 s\\. To keep it away .*${fix}`),
    ),
  );
  it.each([
    '0::/user.slice/user-1000.slice/session-3.scope\n',
    '0::/system.slice/my-autogit-node.service\n',
    '0::/system.slice/autogit-node.service.d\n',
    '0::/\n',
  ])('and nothing of it where it is none (%j)', (cgroups) =>
    expect(leaveSentence(true, 0, false, startedBySystemd(cgroups))).toBe('handed over; this agent ends'),
  );
});

describe('approve', () => {
  it.each(['amber-fox-lake-moon', 'Amber fox lake moon', ' amber  fox, lake, moon '])(
    'takes the four words as they are typed: %j',
    (typed) => expect(asShown(typed)).toBe('amber-fox-lake-moon'),
  );
});

describe('ignore', () => {
  it('says what becomes of the machine: its agent ends', () => {
    const ledger = foundedMesh();
    const said = doneSentence({ kind: 'ignore', node: 'laptop' } as never, ledger, { ...ledger });
    expect(said).toMatch(
      /^laptop is ignored.*: its agent is told so and ends, and nobody is asked about it when it comes again$/,
    );
  });
});

describe('gitlab', () => {
  it('says why its state is what it is', () => {
    const lab = new Lab({ machines: { kang: measured() } });
    lab.run(3000);
    const seen = snapshot(viewOf(lab, 'kang'));
    const attention = [
      {
        code: 'gitlab-unreachable',
        severity: 'warn' as const,
        sentence: "GitLab's queue cannot be read: no answer in time",
        fix: 'autogit-node doctor',
      },
      { code: 'node-gone', severity: 'warn' as const, sentence: 'desktop-1  is gone', fix: null },
    ];
    const gitlab = { ...seen.gitlab, mode: 'connected' as const, state: 'degraded' as const };
    const shown = gitlabView({ ...seen, gitlab, attention }, true);
    expect(shown).toContain("# GitLab's queue cannot be read: no answer in time   -> autogit-node doctor");
    expect(shown).not.toContain('desktop-1');
    // What only a GitLab has that the mesh hosts is no gap of this one; scripts get every row all the same.
    const heads = (text: string) =>
      text
        .split('\n\n')[0]
        ?.split('\n')
        .map((line) => line.split(/\s/)[0]);
    expect(heads(shown)).toEqual(['mode', 'state', 'url', 'version']);
    const none = gitlabView({ ...seen, gitlab: { ...gitlab, mode: 'none', state: 'absent', url: null } }, true);
    expect(heads(none)).toEqual(['mode', 'state']);
    expect(none).toMatch(/gitlab deploy\n#.*gitlab connect URL/);
    expect(heads(gitlabView({ ...seen, gitlab, attention }, false))).toContain('flag');
    expect(heads(gitlabView({ ...seen, gitlab, attention }, false))).toContain('backup');
    expect(heads(gitlabView({ ...seen, gitlab: { ...gitlab, mode: 'hosted' }, attention }, true))).toContain('backup');
  });
});

describe('a home', () => {
  it('that cannot be made is an error at once, also where a file system takes no folders; deep ones are made', () => {
    expect(() => prepareHome('/proc/nothing/at/all')).toThrow(/\/proc\/nothing\/at\/all cannot be used: ENOENT/);
    const dir = mkdtempSync(join(tmpdir(), 'autogit-home-'));
    const deep = join(dir, 'a', 'b', 'c');
    prepareHome(deep);
    prepareHome(deep);
    expect(statSync(deep).mode & 0o777).toBe(0o700);
    rmSync(dir, { recursive: true });
  });
});
