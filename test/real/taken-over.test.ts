import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HostedMove } from '../../protocol/hosted-move.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { KeeperRig } from './keeper-rig.ts';

/** SAFETY H7, H10. The keeper of a machine that takes GitLab over since its host was silent, with engine, gate, copies and mesh played. */
const rig = new KeeperRig();
const data = 'data-three';
const at = (path: string) => ({ place: { kind: 'folder' as const, path }, hostname: 'home.local' });
const move: HostedMove = {
  ...{ from: 'desktop-1', to: 'kang', there: at('/a'), back: at('/b'), since: 1 },
  ...{ base: { era: 0, epoch: 3, number: 7 }, because: 'desktop-1 is silent for 45 s: kang goes on' },
  unplanned: { tried: [] },
};

beforeEach(() => {
  rig.begins();
  const nodes = { kang: { name: 'kang' }, 'desktop-1': { name: 'desktop-1' } };
  rig.ledger = { ...rig.ledger, nodes } as typeof rig.ledger;
  const set = { version: 2, members: [], last: null, boot: null };
  const standbys = [{ node: 'desktop-1', because: 'it ran GitLab' }];
  const hosted = hostedGitlab({ data, preset: 'minimal', copies: { agreed: ['desktop-1'], standbys, set, bases: {} } });
  rig.ledger.gitlab = {
    ...{ mode: 'hosted', url: 'http://home.local:8929', token: 't', host: 'kang', epoch: 4 },
    hosted: { ...hosted, move, failover: { count: 1 } },
  };
});
afterEach(() => rig.ends());

const hosted = (): HostedGitlab => rig.ledger.gitlab.hosted as HostedGitlab;

describe('a machine that takes GitLab over', () => {
  it('lets people in once it works and the mesh has it stand', async () => {
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.behind?.isServing === true);
    expect(hosted().move).toBeUndefined();
    expect(rig.ledger.gitlab).toMatchObject({ host: 'kang', epoch: 4 });
  });

  it('takes in what was booted there beside the grace, once it is looked into and there is a lease, and boots nothing', async () => {
    rig.engine.booted = 'beside';
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.engine.calls.length > 5, false);
    expect(rig.engine.calls.filter((call) => call.startsWith('take in'))).toEqual([]);
    await rig.until(keeper, () => rig.behind?.isServing === true);
    expect(rig.engine.calls).not.toContain('start');
    expect([[...rig.engine.running.keys()], rig.engine.booted]).toEqual([['beside'], null]);
  });

  it('has its data made of the base while its lease is on the way, and starts nothing without one', async () => {
    const { copies } = hosted();
    const bases = { 4: { era: 0, epoch: 3, number: 7 } };
    rig.ledger.gitlab.hosted = { ...hosted(), copies: { ...copies!, bases } };
    const keeper = rig.begin();
    const isMade = () => rig.seen.some((one) => one?.progress?.phase.startsWith('makes its data of round 0-3-7'));
    await rig.until(keeper, isMade, false);
    expect(rig.engine.calls).not.toContain('start');
    // It takes the engine a while, too; and goes again where nothing ever began in it.
    const { data } = hosted();
    expect([...rig.engine.networks]).toEqual([data]);
    rig.ledger.gitlab = { ...rig.ledger.gitlab, host: 'desktop-1', epoch: 5 };
    keeper.ledgerChanged();
    await rig.until(keeper, () => rig.engine.networks.size === 0, false);
  });

  it('boots anew where that has other folders: it is killed before anything else begins on these data', async () => {
    rig.engine.booted = 'beside';
    rig.isBootedStrange = true;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.engine.calls.includes('start'));
    expect(rig.engine.calls.filter((call) => /^(take in|kill beside|start)/.test(call)).slice(0, 2)).toEqual([
      'kill beside',
      'start',
    ]);
    await rig.until(keeper, () => rig.behind?.isServing === true);
    expect(rig.engine.running.has('beside')).toBe(false);
  });

  it('that cannot bring it up says so once, its gate closed for that epoch, and waits for what the leader does', async () => {
    rig.engine.endsWith = 1;
    const keeper = rig.begin();
    let wasOpen = false;
    await rig.until(keeper, () => {
      wasOpen ||= rig.behind?.isServing === true;
      return hosted().move?.unplanned?.failed !== undefined;
    });
    expect([wasOpen, rig.order.slice(0, 2)]).toEqual([false, ['gate of 4 closed', 'said closed 4']]);
    expect(rig.ledger.gitlab).toMatchObject({ host: 'kang', epoch: 4 });
    const said = rig.told.length;
    rig.engine.endsWith = null;
    const starts = rig.engine.running.size;
    let looks = 0;
    await rig.until(keeper, () => ++looks > 30);
    expect([rig.told.length, rig.engine.running.size, rig.behind?.isServing ?? false]).toEqual([said, starts, false]);
  });
});
