import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import { markedEpoch, writeMarker } from '../../node/hosting/place-records.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { KeeperRig } from './keeper-rig.ts';

const rig = new KeeperRig();
beforeEach(() => rig.begins());
afterEach(() => rig.ends());

describe('a restore', () => {
  const when = { version: '19.3.0', image: 'i', at: 1 };
  const about = { form: 1 as const, mesh: 'mesh', meshName: 'home', data: 'data-three', epoch: 3, ...when };
  const of = { mesh: 'mesh', data: 'data-three' };
  let tree: string;
  const data = (): string => readFileSync(join(tree, 'live/data/what'), 'utf8');
  async function ready(): Promise<GitlabKeeper> {
    tree = join(rig.home, 'place');
    for (const [folder, what] of [
      [tree, 'now'],
      [join(tree, 'restoring'), 'then'],
    ] as const) {
      for (const one of ['live/data', 'bulk']) mkdirSync(join(folder, one), { recursive: true });
      writeFileSync(join(folder, 'live/data/what'), what);
    }
    const hosted = { data: 'data-three', preset: 'minimal' as const, place: { kind: 'folder' as const, path: tree } };
    rig.ledger.gitlab.hosted = hostedGitlab(hosted);
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy' && rig.ledger.gitlab.url !== null);
    return keeper;
  }
  const wish = () => ({ backup: 'abcdef01', source: join(tree, 'restoring'), because: 'as of then', about });

  it('closes the gate, swaps, and begins the next epoch; done when GitLab stands again', async () => {
    const keeper = await ready();
    const atEnd: string[] = [];
    rig.copiesEnded = () => void atEnd.push(data());
    keeper.replacing.ask(wish());
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
    expect(keeper.replacing.outcome).toEqual({ backup: 'abcdef01', isDone: true, because: 'as of then' });
    rig.copiesEnded = null;
    await rig.until(keeper, () => rig.engine.inputs.filter((input) => input.includes('revoke!')).length === 2);
    expect(atEnd[0]).toBe('now');
    expect([rig.ledger.gitlab.epoch, data(), rig.order.slice(0, 2)]).toEqual([
      4,
      'then',
      ['gate of 3 closed', 'said closed 3'],
    ]);
    expect(readFileSync(join(tree, 'replaced-3/live/data/what'), 'utf8')).toBe('now');
  });

  it('that GitLab cannot begin with comes back by itself, as one more epoch', async () => {
    const keeper = await ready();
    rig.engine.endsWith = 1;
    keeper.replacing.ask(wish());
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 5);
    rig.engine.endsWith = null;
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
    expect(keeper.replacing.outcome?.isDone).toBe(false);
    expect(keeper.replacing.outcome?.because).toContain(
      'did not come up with abcdef01 (its container ended: exit code 1',
    );
    expect([data(), readFileSync(join(tree, 'replaced-4/live/data/what'), 'utf8')]).toEqual(['now', 'then']);
  });

  it('that goes back says of what it tried what that is: of before an upgrade it stays kept, and its version known', async () => {
    const keeper = await ready();
    rig.engine.endsWith = 1;
    const tried = { ...about, epoch: 2, version: '19.2.0', isPinned: true };
    keeper.replacing.ask({ ...wish(), aboutSource: tried });
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 5);
    const note = (epoch: number) =>
      JSON.parse(readFileSync(join(tree, `replaced-${epoch}/autogit-backup.json`), 'utf8'));
    expect(note(4)).toEqual(tried);
    rig.engine.endsWith = null;
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
  });

  it('that was asked for of an epoch that is over is given up, and said', async () => {
    const keeper = await ready();
    keeper.replacing.ask({ ...wish(), about: { ...about, epoch: 2 } });
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
    expect(keeper.replacing.outcome).toMatchObject({ isDone: false, because: expect.stringContaining('was changed') });
    expect([rig.ledger.gitlab.epoch, data(), keeper.replacing.current('data-three')]).toEqual([3, 'now', null]);
  });

  it.each([
    ['the mesh hosts none any more', { mode: 'none', url: null, host: null, epoch: 3 }],
    ['it is uninstalled, its data stay', null],
  ])('cut at any step leaves the data whole where nobody goes on with it: %s', async (_how, gone) => {
    for (let steps = 0; ; steps++) {
      const keeper = await ready();
      writeFileSync(join(tree, 'bulk/what'), 'now');
      writeFileSync(join(tree, 'restoring/bulk/what'), 'then');
      rig.isHeard = false;
      rig.stepsLeft = steps;
      keeper.replacing.ask(wish());
      // Cut, or done but for the mesh's word.
      await rig.until(keeper, () => rig.stepsLeft === null || rig.stepsLeft < 0 || data() === 'then');
      const isWhole = rig.stepsLeft >= 0 && existsSync(join(tree, 'bulk/what')) && !existsSync(join(tree, 'restoring'));
      await keeper.stop();
      [rig.stepsLeft, rig.isHeard] = [null, true];
      const ending = { since: 1, deleteData: false, now: false, force: false, drained: true };
      const { gitlab } = rig.ledger;
      rig.ledger.gitlab = gone ?? { ...gitlab, hosted: { ...(gitlab.hosted as HostedGitlab), ending } };
      rig.order = [];
      const next = rig.begin();
      await rig.until(next, () => rig.order.includes('place closed'), false);
      await next.stop();
      const both = ['live/data', 'bulk'].map((part) => readFileSync(join(tree, part, 'what'), 'utf8'));
      expect([steps, both]).toEqual([steps, [both[0], both[0]]]);
      await rig.ends();
      if (isWhole) break;
      rig.begins();
    }
    rig.begins();
  });

  it.each([
    ['before', false],
    ['after its next agent has marked the data anew', true],
  ])(
    'counts its epoch as the mesh does that was recovered by force %s, and its data are of that',
    async (_when, isLate) => {
      const keeper = await ready();
      rig.isHeard = false;
      keeper.replacing.ask(wish());
      await rig.until(keeper, () => data() === 'then');
      expect(markedEpoch(join(tree, 'live/data'), of)).toBe(4);
      await keeper.stop();
      if (isLate) rig.isRecovered = true;
      else rig.ledger.recovery = {};
      rig.isHeard = true;
      const next = rig.begin();
      await rig.until(next, () => rig.ledger.gitlab.epoch === 1003 && next.replacing.outcome !== null);
      expect([data(), next.replacing.outcome?.isDone]).toEqual(['then', true]);
      expect(markedEpoch(join(tree, 'live/data'), of)).toBe(1003);
    },
  );

  it('that cannot be done keeps what was there, in the epoch that a mesh recovered by force makes of it', async () => {
    const keeper = await ready();
    rig.ledger.recovery = {};
    await writeMarker(join(tree, 'live/data'), { ...of, epoch: 3 }, systemTools);
    rmSync(join(tree, 'restoring/bulk'), { recursive: true });
    keeper.replacing.ask(wish());
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
    expect([data(), rig.ledger.gitlab.epoch, keeper.replacing.outcome?.isDone]).toEqual(['now', 1003, false]);
    expect(markedEpoch(join(tree, 'live/data'), of)).toBe(1003);
  });

  it('that the mesh does not hear of is told until it does, by the next agent too', async () => {
    const keeper = await ready();
    rig.isHeard = false;
    keeper.replacing.ask(wish());
    await rig.until(keeper, () => data() === 'then');
    await keeper.stop();
    expect(rig.ledger.gitlab.epoch).toBe(3);
    rig.isHeard = true;
    const next = rig.begin();
    await rig.until(
      next,
      () => rig.ledger.gitlab.url !== null && rig.ledger.gitlab.epoch === 4 && rig.state() === 'healthy',
    );
    expect([data(), next.replacing.outcome?.isDone]).toEqual(['then', true]);
  });
});

describe('an upgrade (SAFETY H7)', () => {
  const [was, next] = ['gitlab/gitlab-ce:19.3.0-ce.0', 'gitlab/gitlab-ce:19.4.1-ce.0'];
  let tree: string;
  const data = (folder = ''): string => readFileSync(join(tree, folder, 'live/data/what'), 'utf8');
  const image = (): string => (rig.ledger.gitlab.hosted as HostedGitlab).image;
  async function ready(): Promise<GitlabKeeper> {
    tree = join(rig.home, 'place');
    for (const one of ['live/data', 'bulk']) mkdirSync(join(tree, one), { recursive: true });
    writeFileSync(join(tree, 'live/data/what'), 'pushed before');
    const hosted = { data: 'data-three', preset: 'minimal' as const, place: { kind: 'folder' as const, path: tree } };
    rig.ledger.gitlab.hosted = hostedGitlab({ ...hosted, image: was });
    rig.engine.images.set(next, { version: '19.4.1' });
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy' && rig.ledger.gitlab.url !== null);
    return keeper;
  }
  /** Time passes, and its lease is renewed. */
  const later = (keeper: GitlabKeeper, ms: number): void => {
    rig.skewMs += ms;
    keeper.holdLease(rig.ledger.gitlab.epoch as number, rig.clock.bootMs() + 4000);
  };
  const aboutOf = { form: 1 as const, mesh: 'mesh', meshName: 'home', data: 'data-three', at: 1 };
  const ask = (keeper: GitlabKeeper, isLast = true) =>
    keeper.replacing.ask({
      ...{ backup: next, source: join(tree, 'upgrading'), because: 'GitLab is 19.4.1', image: next, imageBefore: was },
      about: {
        form: 1,
        mesh: 'mesh',
        meshName: 'home',
        data: 'data-three',
        epoch: rig.ledger.gitlab.epoch as number,
        version: '19.3.0',
        image: was,
        at: 1,
        isPinned: true,
      },
      upgrade: { bootLimitMs: 1_200_000, isLast },
    });

  it('is one epoch more with the newer image; what was before is kept, and address and token stay', async () => {
    const keeper = await ready();
    const token = rig.ledger.gitlab.token;
    ask(keeper);
    await rig.until(keeper, () => rig.ended.length > 0 && rig.state() === 'healthy');
    expect([rig.ended, rig.ledger.gitlab.epoch, image(), rig.ledger.gitlab.token]).toEqual([['done'], 4, next, token]);
    expect([data(), data('replaced-3'), rig.seen.at(-1)?.version]).toEqual([
      'pushed before',
      'pushed before',
      '19.4.1',
    ]);
    expect(rig.order.slice(0, 2)).toEqual(['gate of 3 closed', 'said closed 3']);
    expect(keeper.replacing.current('data-three')).toBeNull();
  });

  it('a stop on the way is proven, and its wish stands', async () => {
    const keeper = await ready();
    ask(keeper, false);
    await rig.until(
      keeper,
      () => image() === next && rig.state() === 'healthy' && keeper.replacing.current('data-three') === null,
    );
    expect(rig.ended).toEqual([]);
  });

  it.each([
    ['ends at once', { ends: true as const }, /its container ended: exit code 1/],
    ['says that it is another version', { version: '19.3.9' }, /it says that it is GitLab 19.3.9/],
    ['boots, and works never', { never: true as const }, /did not come up within/],
  ])('whose image %s comes back by itself, with nothing lost, and was never served', async (_how, what, because) => {
    const keeper = await ready();
    rig.engine.images.set(next, what);
    ask(keeper);
    let hasServed = false;
    await rig.until(keeper, () => {
      if (image() === next) hasServed ||= rig.behind?.isServing === true;
      if (image() === next && 'never' in what) later(keeper, 60_000);
      return rig.ended.length > 0;
    });
    await rig.until(keeper, () => rig.state() === 'healthy' && rig.behind?.isServing === true);
    expect(rig.ended[0]).toMatch(because);
    expect([hasServed, rig.ledger.gitlab.epoch, image(), data()]).toEqual([false, 5, was, 'pushed before']);
    // What the newer one has made of the data is nobody's; neither is a second copy of what is served.
    expect(readdirSync(tree).sort()).toEqual(['bulk', 'live']);
    expect(rig.seen.at(-1)?.version).toBe('19.3.0');
  });

  it('that stood goes back by a restore of what was before, with the image of then', async () => {
    const keeper = await ready();
    ask(keeper);
    await rig.until(keeper, () => rig.ended.length > 0 && rig.state() === 'healthy');
    writeFileSync(join(tree, 'live/data/what'), 'pushed since');
    const { about, backup } = { about: { ...aboutOf, epoch: 4, version: '19.4.1', image: next }, backup: 'replaced-3' };
    const images = { image: was, imageBefore: next };
    keeper.replacing.ask({ ...{ backup, source: join(tree, backup), because: 'as of then', about }, ...images });
    await rig.until(keeper, () => keeper.replacing.outcome !== null);
    expect([rig.ledger.gitlab.epoch, image(), data(), data('replaced-4')]).toEqual([
      ...[5, was, 'pushed before', 'pushed since'],
    ]);
    expect(keeper.replacing.outcome?.isDone).toBe(true);
  });

  it('once it was served it is repaired, and never taken back by itself', async () => {
    const keeper = await ready();
    rig.isHeard = true;
    ask(keeper);
    await rig.until(keeper, () => image() === next && rig.behind?.isServing === true);
    writeFileSync(join(tree, 'live/data/what'), 'pushed since');
    await keeper.stop();
    // As if the next agent had found it before it said how it ended.
    rig.engine.images.set(next, { version: '19.4.1', ends: true });
    const file = join(rig.home, 'hosted-gitlab.json');
    const kept = JSON.parse(readFileSync(file, 'utf8'));
    const about = {
      form: 1,
      mesh: 'mesh',
      meshName: 'home',
      data: 'data-three',
      epoch: 3,
      version: '19.3.0',
      image: was,
      at: 1,
    };
    kept.replacing ??= {
      backup: next,
      source: 's',
      about,
      because: 'b',
      epoch: 3,
      state: 'trying',
      how: 'replace',
      isBack: false,
      hasServed: true,
      image: next,
      imageBefore: was,
      upgrade: { bootLimitMs: 9e5, isLast: true },
    };
    for (const one of [file, `${file}.copy`]) writeFileSync(one, JSON.stringify(kept));
    const second = rig.begin();
    await rig.until(second, () => {
      later(second, 5000);
      return rig.state() === 'failed';
    });
    expect([rig.ledger.gitlab.epoch, image(), data()]).toEqual([4, next, 'pushed since']);
  });

  it('cut between any two steps is done to its end by the agent that comes next, and nothing is lost', {
    timeout: 60_000,
  }, async () => {
    await (await ready()).stop();
    for (let steps = 0; ; steps += 1) {
      const epoch = rig.ledger.gitlab.epoch as number;
      const keeper = rig.begin();
      await rig.until(keeper, () => rig.state() === 'healthy');
      rig.ended = [];
      rig.stepsLeft = steps;
      ask(keeper);
      // Dead at that step: what it says of it is not heard any more.
      await rig.until(keeper, () => (rig.stepsLeft as number) < 0 || rig.ended.length > 0);
      const isWhole = (rig.stepsLeft as number) >= 0;
      await keeper.stop();
      rig.stepsLeft = null;
      const second = rig.begin();
      await rig.until(second, () => rig.ended.length > 0 && rig.state() === 'healthy');
      expect([steps, data(), rig.ledger.gitlab.epoch]).toEqual([steps, 'pushed before', epoch + 1]);
      expect([steps, [was, next]]).toEqual([steps, expect.arrayContaining([image()])]);
      expect(existsSync(join(tree, 'upgrading'))).toBe(false);
      await second.stop();
      if (isWhole) break;
      // As it was, for the next one.
      (rig.ledger.gitlab.hosted as HostedGitlab).image = was;
      rmSync(join(tree, `replaced-${epoch}`), { recursive: true, force: true });
      rig.engine.running.clear();
    }
  });
});
