import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KeeperRig } from './keeper-rig.ts';

const rig = new KeeperRig();
beforeEach(() => rig.begins());
afterEach(() => rig.ends());

describe('the keeper of a hosted GitLab', () => {
  it('an engine that is away is no fault of GitLab: the gate goes on as it was, and nothing is started', async () => {
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy');
    rig.engine.isAway = true;
    await rig.until(keeper, () => rig.state() === 'degraded');
    expect(rig.seen.at(-1)?.because).toMatch(/no Docker Engine answers/);
    expect(rig.behind).toMatchObject({ isServing: true, upstream: '172.30.0.2' });
    rig.engine.isAway = false;
    await rig.until(keeper, () => rig.state() === 'healthy');
    expect(rig.engine.calls.filter((call) => call === 'start')).toHaveLength(1);
  });

  it('a lease that ends during the pull starts nothing, and is no failed try', async () => {
    let pulled = (): void => undefined;
    rig.engine.pulling = new Promise((done) => {
      pulled = done;
    });
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.engine.calls.includes('image'));
    keeper.endLease(3, 'another epoch');
    pulled();
    await rig.until(keeper, () => rig.order.includes('said closed 3'), false);
    await rig.until(keeper, () => rig.engine.calls.filter((call) => call === 'find').length > 3, false);
    expect(rig.engine.calls).not.toContain('start');
    expect(rig.seen.at(-1)?.because).not.toMatch(/tried again/);
  });

  it('a gitlab.rb by which GitLab does not answer its gate is named with its line, whether GitLab answers itself or not', async () => {
    mkdirSync(join(rig.home, 'config'));
    const file = join(rig.home, 'config', 'gitlab.rb');
    writeFileSync(file, "# mine\nnginx['listen_addresses'] = ['127.0.0.1']\n");
    const keeper = rig.begin();
    const words = /goes against its gate: line 2 \(nginx\['listen_addresses'\] = \['127\.0\.0\.1'\]\) must be nginx/;
    await rig.until(keeper, () => rig.state() === 'degraded');
    expect(rig.seen.at(-1)?.because).toMatch(words);
    rig.engine.works = false;
    await rig.until(keeper, () => {
      rig.skewMs += 500;
      return /^its sign-in page does not answer; /.test(rig.seen.at(-1)?.because ?? '');
    });
    expect(rig.seen.at(-1)?.because).toMatch(words);
    rig.engine.works = true;
    // By a link it would be another file of this machine.
    symlinkSync(file, `${file}.link`);
    renameSync(`${file}.link`, file);
    keeper.lookNow();
    await rig.until(keeper, () => rig.state() === 'healthy');
  });

  it('its gate tells who the client is as its nginx takes it, also while GitLab is not well; an nginx that says nothing changes nothing', async () => {
    rig.engine.proxyLine = true;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.behind?.isServing === true && rig.behind.tellsClient);
    // gitlab.rb was changed and nginx begun anew, and something else of it is out of order.
    [rig.engine.proxyLine, rig.engine.readiness] = [false, 503];
    const later = (holds: () => boolean) => () => {
      rig.skewMs += 500;
      return holds();
    };
    await rig.until(
      keeper,
      later(() => rig.behind?.tellsClient === false),
    );
    expect(rig.behind).toMatchObject({ isServing: true });
    rig.engine.works = false;
    await rig.until(
      keeper,
      later(() => /does not answer/.test(rig.seen.at(-1)?.because ?? '')),
    );
    expect(rig.behind?.tellsClient).toBe(false);
  });

  it('a container that sees other folders is killed before anybody reaches it', async () => {
    rig.isOtherFolder = true;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.engine.calls.includes('kill c1'));
    await rig.until(keeper, () => /another folder/.test(rig.seen.at(-1)?.because ?? ''));
    expect(rig.behind?.isServing).toBe(false);
  });

  it('a container that was begun by nobody of ours is looked into too: one with other folders is killed, and nothing passes', async () => {
    rig.isOtherFolder = true;
    rig.engine.running.set('c1', {
      mesh: 'mesh',
      host: 'kang',
      data: 'data-three',
      epoch: 3,
      id: 'c1',
      isRunning: true,
    });
    const keeper = rig.begin();
    let hasServed = false;
    await rig.until(keeper, () => {
      hasServed ||= rig.behind?.isServing === true;
      return rig.engine.calls.includes('kill c1');
    });
    expect(hasServed).toBe(false);
    rig.isOtherFolder = false;
    keeper.lookNow();
    await rig.until(keeper, () => rig.state() === 'healthy');
    expect(rig.behind?.isServing).toBe(true);
  });

  it('a GitLab that has worked is not made anew where its place is gone, also before the mesh has heard of it', async () => {
    rig.isHeard = false;
    const first = rig.begin();
    await rig.until(first, () => rig.mayMake.includes(true) && rig.behind?.isServing === true);
    await first.stop();
    rig.engine.running.clear();
    rig.mayMake = [];
    const second = rig.begin();
    await rig.until(second, () => rig.mayMake.length > 0);
    expect(rig.mayMake).not.toContain(true);
  });

  it.each([
    ['cut off', (text: string) => text.slice(0, 40)],
    ['emptied', () => ''],
    ['of a later version', (text: string) => text.replace(/"bootMs":\d+/, '"bootMs":{"first":1}')],
  ])(
    'what it knows of it is %s: the copy is taken; without one GitLab is not made anew over a place that is gone',
    async (_how, spoil) => {
      rig.isHeard = false;
      const first = rig.begin();
      await rig.until(first, () => rig.mayMake.includes(true) && rig.behind?.isServing === true);
      await first.stop();
      const file = join(rig.home, 'hosted-gitlab.json');
      const whole = readFileSync(file, 'utf8');
      for (const files of [[file], [file, `${file}.copy`]]) {
        for (const one of files) writeFileSync(one, spoil(whole));
        rig.engine.running.clear();
        rig.mayMake = [];
        const next = rig.begin();
        await rig.until(next, () => rig.mayMake.length > 0 && rig.engine.running.size > 0);
        expect(rig.mayMake).not.toContain(true);
        if (files.length === 1) expect(next.rootPassword()).toBe('first-of-root');
        await next.stop();
        copyFileSync(file, `${file}.copy`);
      }
    },
  );

  it('removed from its mesh it ends what it ran, also under a ledger that does not say so, and keeps nothing but the data and where they are', async () => {
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy');
    await keeper.removed();
    expect(rig.order).toEqual(['gate of 3 closed', 'said closed 3', 'gate ended', 'place closed']);
    expect([rig.engine.running.size, rig.behind, rig.seen.at(-1)]).toEqual([0, null, null]);
    expect(readdirSync(rig.home)).toEqual(['gitlab-left.json']);
  });

  it('what an agent could not end when it was removed is ended by the next one, in whatever mesh that is', async () => {
    const first = rig.begin();
    await rig.until(first, () => rig.state() === 'healthy');
    rig.engine.isAway = true;
    void first.removed();
    await first.stop();
    rig.engine.isAway = false;
    rig.ledger = { mesh: { id: 'other', name: 'other' }, gitlab: { mode: 'none', url: null, host: null, epoch: 0 } };
    const second = rig.begin();
    await rig.until(second, () => rig.engine.running.size === 0 && rig.order.includes('place closed'), false);
    expect(rig.order.slice(-2)).toEqual(['gate ended', 'place closed']);
  });

  it('data that it had are taken up in a later epoch: that they have worked here before does not keep their marker old', async () => {
    const first = rig.begin();
    await rig.until(first, () => rig.state() === 'healthy');
    await first.stop();
    rig.engine.running.clear();
    rig.mayMake = [];
    rig.ledger.gitlab = { ...rig.ledger.gitlab, url: null, epoch: 4 };
    const second = rig.begin();
    await rig.until(second, () => rig.engine.running.get('c1')?.epoch === 4);
    // A place is looked at, and let go, before it is made; what starts GitLab is the last.
    expect(rig.mayMake.at(-1)).toBe(true);
  });

  it('an agent that starts over a ledger that has moved on closes the gate of before, ends the container, and only then says so', async () => {
    const first = rig.begin();
    await rig.until(first, () => rig.state() === 'healthy');
    await first.stop();
    rig.ledger.gitlab = { mode: 'none', url: null, host: null, epoch: 3 };
    let closed = (): void => undefined;
    rig.closing = new Promise((done) => {
      closed = done;
    });
    const second = rig.begin();
    second.endLease(3, 'it was uninstalled');
    await new Promise((done) => setTimeout(done, 200));
    expect([rig.engine.running.size, rig.order]).toEqual([1, []]);
    closed();
    await rig.until(second, () => rig.engine.running.size === 0 && rig.order.includes('place closed'), false);
    expect(rig.order.indexOf('gate of 3 closed')).toBeLessThan(rig.order.indexOf('said closed 3'));
    expect(rig.order.slice(-2)).toEqual(['gate ended', 'place closed']);
  });

  it('a container that ends says why in its own last words, without what moves a cursor or is a secret', async () => {
    rig.engine.endsWith = 1;
    rig.engine.lastLines = 'Preparing\n\u001b[31mcannot use glpat-0123456789abcdefghij: upgrade to 18.11 first\n';
    const keeper = rig.begin();
    await rig.until(keeper, () => /container ended/.test(rig.seen.at(-1)?.because ?? ''));
    expect(rig.seen.at(-1)?.because).toMatch(
      /^its container ended: exit code 1, " \[31mcannot use glpat-\[redacted\]: upgrade to 18.11 first"/,
    );
  });

  it.each([
    ['first-of-root', 'first-of-root'],
    ['another', null],
  ])("root's first password is told until it was seen, where root has it still: %s", async (has, told) => {
    rig.engine.rootHas = has;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy');
    const heard = [undefined, undefined, 'of another GitLab'].map((seen) => keeper.rootPassword(seen));
    expect(heard).toEqual([told, told, told]);
    expect([keeper.rootPassword('first-of-root'), keeper.rootPassword()]).toEqual([null, null]);
  });

  it('a token that somebody revoked is made anew, once GitLab has refused it twice; older ones are revoked then', async () => {
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy');
    const first = rig.ledger.gitlab.token as string;
    expect(first).toMatch(/^glpat-\w{20}$/);
    const said = (word: string): number => rig.engine.inputs.filter((input) => input.includes(word)).length;
    const made = (): number => said('set_token');
    const looked = async (): Promise<void> => {
      const before = rig.engine.inputs.length;
      keeper.lookNow();
      await rig.until(keeper, () => rig.engine.inputs.slice(before).some((input) => input.includes('/api/v4/user')));
    };
    await looked();
    expect(made()).toBe(1);
    rig.engine.revoked = first;
    await looked();
    expect(rig.ledger.gitlab.token).toBe(first);
    await looked();
    // Data of a later epoch may bring older ones along, so those ended the first time too.
    await rig.until(keeper, () => made() === 2 && said('.to_a[0...-1].each(&:revoke!)') === 2);
    expect(rig.ledger.gitlab.token).not.toBe(first);
  });

  it('ends what the ledger does not know any more, and leaves what it does not know yet', async () => {
    const other = { mesh: 'mesh', host: 'kang', isRunning: true };
    rig.engine.running.set('old', { ...other, data: 'data-two-', epoch: 2, id: 'old' });
    rig.engine.running.set('same', { ...other, data: 'data-else', epoch: 3, id: 'same' });
    rig.engine.running.set('new', { ...other, data: 'data-four', epoch: 4, id: 'new' });
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.state() === 'healthy');
    expect([...rig.engine.running.keys()].sort()).toEqual(['c1', 'new']);
  });

  it('a machine that never hosted asks no engine', async () => {
    const keeper = rig.begin('spock');
    keeper.endLease(3, 'the host is another');
    await rig.until(keeper, () => rig.order.includes('said closed 3'), false);
    expect(rig.engine.calls).toEqual([]);
  });
});
