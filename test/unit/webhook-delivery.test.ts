import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, it } from 'vitest';
import { SourceRates } from '../../node/source-rates.ts';
import { isAllowed, sourcesOf } from '../../node/webhook/allowed-sources.ts';
import { hookPath, hookPlan, nodeOfHook } from '../../node/webhook/hook-plan.ts';
import {
  type DeliveryMemory,
  deliveryLimits,
  type Judged,
  judgeBody,
  judgeHead,
  judgeToken,
  newMemory,
} from '../../node/webhook/webhook-delivery.ts';
import { doorLimits } from '../../node/webhook/webhook-door.ts';
import { doorSecrets, signing, signingToken } from '../../node/webhook/webhook-secrets.ts';
import { Chance } from '../sim/chance.ts';

const now = 1_780_000_000_000;
const secrets = doorSecrets('glpat-admin', 'mesh-1', 'kang');
const pending = JSON.stringify({ object_kind: 'build', build_status: 'pending', build_id: 7 });

const signed = (body: string, more: { id?: string; at?: number; key?: Buffer } = {}): IncomingHttpHeaders => {
  const [id, seconds] = [more.id ?? 'one', String(Math.floor((more.at ?? now) / 1000))];
  const mac = signing(more.key ?? secrets.key, id, seconds)
    .update(body)
    .digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': `v1,${mac}` };
};
const plain = { 'x-gitlab-token': secrets.token, 'x-gitlab-event': 'Job Hook' };

/** As the door asks. */
function judged(headers: IncomingHttpHeaders, body: string, memory: DeliveryMemory = newMemory(), at = now): Judged {
  const stranger = judgeToken(headers, secrets);
  if (stranger !== null) return stranger;
  const head = judgeHead(headers, memory, at);
  if (head.kind === 'refused') return head;
  const raw = Buffer.from(body);
  const mac = head.signed && signing(secrets.key, head.signed.id, head.signed.seconds).update(raw).digest();
  return judgeBody(
    headers,
    head.signed,
    { start: raw.subarray(0, deliveryLimits.parsedBytes), bytes: raw.length, mac },
    memory,
  );
}

describe('one delivery', () => {
  it.each([
    ['pending', 'hint'],
    ['success', 'hint'],
    ['failed', 'hint'],
    ['canceling', 'hint'],
    ['running', 'ignored'],
    ['created', 'ignored'],
  ])('a job that is %s: %s', (build_status, kind) => {
    expect(judged(plain, JSON.stringify({ object_kind: 'build', build_status })).kind).toBe(kind);
    const pipeline = JSON.stringify({ object_kind: 'pipeline', object_attributes: { status: build_status } });
    expect(judged({ ...plain, 'x-gitlab-event': 'Pipeline Hook' }, pipeline).kind).toBe(kind);
  });

  it('another event is none of ours, one that is too long to look into is a hint', () => {
    expect(judged({ ...plain, 'x-gitlab-event': 'Push Hook' }, '{}').kind).toBe('ignored');
    expect(judged(plain, 'x'.repeat(deliveryLimits.parsedBytes + 1)).kind).toBe('hint');
  });

  it.each([
    ['no token', {}, 401, 'token'],
    ['another token', { 'x-gitlab-token': secrets.token.replace(/.$/, '!') }, 401, 'token'],
    ["another machine's", { 'x-gitlab-token': doorSecrets('glpat-admin', 'mesh-1', 'desktop-1').token }, 401, 'token'],
    ['a signature by another key', { ...plain, ...signed(pending, { key: Buffer.from('x') }) }, 401, 'signature'],
    ['a signature of another body', { ...plain, ...signed('{}') }, 401, 'signature'],
    [
      'a signature of another version',
      { ...plain, ...signed(pending), 'webhook-signature': 'v2,AAAA' },
      401,
      'signature',
    ],
    ['a time of before', { ...plain, ...signed(pending, { at: now - 301_000 }) }, 401, 'time'],
    ['a time to come', { ...plain, ...signed(pending, { at: now + 301_000 }) }, 401, 'time'],
    ['no id', { ...plain, ...signed(pending), 'webhook-id': '' }, 400, 'form'],
    ['11 MB', { ...plain, 'content-length': '11000000' }, 413, 'size'],
    ['a length that is none', { ...plain, 'content-length': '1e' }, 413, 'size'],
  ])('refuses %s', (_what, headers, status, why) => {
    expect(judged(headers, pending)).toMatchObject({ kind: 'refused', status, why });
  });

  it.each(['no json', '[]', '{"object_kind":"build"}', '{"object_kind":"pipeline"}', 'null', ''])(
    'refuses a body that is no event: %s',
    (body) => expect(judged(plain, body)).toMatchObject({ kind: 'refused', status: 400, why: 'form' }),
  );

  it('of several signatures one that fits will do: GitLab changes its key', () => {
    const good = signed(pending)['webhook-signature'];
    const other = signed(pending, { key: Buffer.from('x') })['webhook-signature'];
    expect(judged({ ...plain, ...signed(pending), 'webhook-signature': `${other} v1a,xx ${good}` }, pending).kind).toBe(
      'hint',
    );
  });

  it('a replay does nothing, and once GitLab has signed, a stripped signature is refused', () => {
    const memory = newMemory();
    const headers = { ...plain, ...signed(pending) };
    expect(judged(headers, pending, memory).kind).toBe('hint');
    expect(judged(headers, pending, memory)).toMatchObject({ kind: 'ignored', because: 'it was here before' });
    expect(judged(plain, pending, memory)).toMatchObject({ kind: 'refused', why: 'signature' });
    expect(judged(headers, pending, memory, now + 301_000)).toMatchObject({ kind: 'refused', why: 'time' });
  });

  it('remembers a bounded number of ids, the newest', () => {
    const memory = newMemory();
    for (let id = 0; id < deliveryLimits.ids + 50; id++)
      judged({ ...plain, ...signed('{}', { id: `i${id}` }) }, '{}', memory);
    expect(memory.ids.size).toBe(deliveryLimits.ids);
    expect([memory.ids.has('i49'), memory.ids.has('i50')]).toEqual([false, true]);
  });

  it('an id of a delivery that was not signed rightly is not remembered: nobody can use up one of GitLab', () => {
    const memory = newMemory();
    judged({ ...plain, ...signed(pending, { key: Buffer.from('x') }) }, pending, memory);
    expect([memory.ids.size, memory.isSigned]).toEqual([0, false]);
  });

  it('whatever comes, it is one of the three, and nothing without the secret is more than refused', () => {
    const random = new Chance(11);
    const pick = <T>(values: readonly T[]): T => values[random.below(values.length)] as T;
    const noise = (): string =>
      Array.from({ length: random.below(40) }, () => String.fromCharCode(random.below(0x3000))).join('');
    let hints = 0;
    for (let round = 0; round < 3_000; round++) {
      const body = pick([pending, '{}', noise(), '{"object_kind":"build","build_status":{}}', '['.repeat(5_000)]);
      const right = random.below(2) === 0;
      const headers: IncomingHttpHeaders = {
        'x-gitlab-token': right ? secrets.token : pick([noise(), '', secrets.token.slice(1), `${secrets.token}, x`]),
        'x-gitlab-event': pick(['Job Hook', 'Pipeline Hook', noise()]),
        ...(random.below(2) === 0 &&
          signed(pick([body, 'x']), { id: pick(['a', noise(), 'b']), at: now + random.below(900_000) - 450_000 })),
        ...(random.below(4) === 0 && {
          'webhook-signature': pick([noise(), 'v1,', 'v1,a v1,b', `v1,${'A'.repeat(43)}=`]),
        }),
        ...(random.below(4) === 0 && { 'webhook-timestamp': pick([noise(), '-1', '1e9', '9'.repeat(30)]) }),
        ...(random.below(4) === 0 && { 'content-length': pick([noise(), '-1', '1e99', '5']) }),
      };
      const verdict = judged(headers, body);
      expect(['hint', 'ignored', 'refused']).toContain(verdict.kind);
      if (!right) expect(verdict).toMatchObject({ kind: 'refused', status: 401 });
      if (verdict.kind === 'hint') hints += 1;
    }
    expect(hints).toBeGreaterThan(20);
  });
});

describe('secrets of a door', () => {
  it("tell nothing of the token, and differ by token, mesh and machine; GitLab's form of the key", () => {
    const all = [
      secrets,
      doorSecrets('glpat-b', 'mesh-1', 'kang'),
      doorSecrets('glpat-admin', 'mesh-2', 'kang'),
      doorSecrets('glpat-admin', 'mesh-1', 'b'),
    ];
    expect(new Set(all.map(({ token }) => token)).size).toBe(4);
    expect(signingToken(secrets)).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(Buffer.from(signingToken(secrets).slice(6), 'base64').equals(secrets.key)).toBe(true);
    expect(createHash('sha256').update('glpat-admin').digest('base64url')).not.toBe(secrets.token);
    // What GitLab of a mesh of before was told must fit after an upgrade.
    expect(secrets.token).toBe('3NwmOl8CBrOYSaZsRCVGmhsdTLWR_igprs3YK7w5zLA');
  });
});

describe('sources', () => {
  it('60 at once, one more a second, and a bounded number of them is known', () => {
    const rates = new SourceRates(doorLimits.rate);
    const taken = (at: number): number => Array.from({ length: 100 }, () => rates.take('a', at)).filter(Boolean).length;
    expect([taken(0), taken(0), taken(5_000), taken(10_000_000)]).toEqual([60, 0, 5, 60]);
    expect(rates.take('b', 0)).toBe(true);
    for (let source = 0; source < 3_000; source++) rates.take(`s${source}`, 0);
    expect(rates.size).toBe(doorLimits.rate.sources);
  });

  it('addresses and subnets, of both kinds', () => {
    const list = sourcesOf(['192.168.1.0/24', '10.0.0.5', 'fd00::/8'])!;
    expect(['192.168.1.9', '::ffff:10.0.0.5', 'fd12::1', 'fd12::1%eth0'].map((one) => isAllowed(list, one))).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(['192.168.2.9', '10.0.0.6', 'fe80::1', '', 'x'].map((one) => isAllowed(list, one))).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
    for (const wrong of ['kang', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', 'fd00::/129', ''])
      expect(sourcesOf([wrong])).toBeNull();
  });
});

describe('hooks of a project', () => {
  const ledger = { mesh: { id: 'mesh-1' }, nodes: { kang: {}, b: {} } } as never;
  const url = (mesh: string, node: string): string => `http://10.0.0.5:7118${hookPath(mesh, node)}`;
  it('ours are known by their path, whatever their address is', () => {
    expect(nodeOfHook(url('mesh-1', 'kang'), 'mesh-1')).toBe('kang');
    expect(nodeOfHook(`https://x.lan/way${hookPath('mesh-1', 'a b')}`, 'mesh-1')).toBe('a b');
    for (const other of [url('mesh-2', 'kang'), 'http://a/autogit/mesh-1', 'no url', 'http://a/autogit/mesh-1/%zz'])
      expect(nodeOfHook(other, 'mesh-1')).toBeNull();
  });

  it("one is set, doubles go, a removed machine's go where it leads, others' stay, and what GitLab has switched off is made anew", () => {
    const hooks = [
      ['http://someone.else/hook', false],
      [url('mesh-1', 'kang'), false],
      [url('mesh-1', 'kang'), false],
      [url('mesh-1', 'b'), true],
      [url('mesh-1', 'gone'), false],
      [url('mesh-2', 'gone'), false],
    ].map(([of, isOff], index) => ({ id: index + 1, url: String(of), isOff: isOff === true }));
    expect(hookPlan(hooks, ledger, 'kang', true)).toEqual({ set: 2, remove: [3, 5], anew: false });
    expect(hookPlan(hooks, ledger, 'kang', false)).toEqual({ set: 2, remove: [3], anew: false });
    const off = (...ids: number[]) => hooks.map((one) => (ids.includes(one.id) ? { ...one, isOff: true } : one));
    expect(hookPlan(off(2), ledger, 'kang', false)).toEqual({ set: 3, remove: [2], anew: false });
    expect(hookPlan(off(2, 3), ledger, 'kang', false)).toEqual({ set: null, remove: [2, 3], anew: true });
    expect(hookPlan([], ledger, 'kang', true)).toEqual({ set: null, remove: [], anew: false });
  });
});
