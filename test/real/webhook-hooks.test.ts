import { createServer } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import type { PracticeGitlab } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { OwnWebhook, webhookHere } from '../../node/agent/own-webhook.ts';
import { WebhookRequests } from '../../node/agent/webhook-requests.ts';
import type { Network, Store } from '../../node/ports.ts';
import type { WebhookSettings } from '../../node/settings/settings-webhook.ts';
import { HookKeeper } from '../../node/webhook/hook-keeper.ts';
import { doorSecrets } from '../../node/webhook/webhook-secrets.ts';
import { freePort } from '../fixtures/free-port.ts';
import { api, practice, project } from '../practice/rig.ts';
import { endMembers, type LabMember, labMesh } from './member-lab.ts';
import { until } from './run-lab.ts';

/** A whole member, its door, and the practice GitLab with the hooks that it makes there. */
const doors: OwnWebhook[] = [];
afterEach(async () => {
  for (const door of doors.splice(0)) await door.stop();
  await endMembers();
});

const kept = (): Pick<Store, 'get' | 'put'> & { values: Map<string, string> } => {
  const values = new Map<string, string>();
  return {
    values,
    get: async (key) => values.get(key) ?? null,
    put: async (key, value) => void values.set(key, value),
  };
};
const said: string[] = [];
const log = { info: (line: string) => said.push(line), warn: (line: string) => said.push(line) } as never;

const settingsOf = (port: number): WebhookSettings => ({
  host: '127.0.0.1',
  port,
  url: null,
  tlsFile: null,
  allow: [],
});
function door(one: LabMember, settings: WebhookSettings | null, store: ReturnType<typeof kept>): OwnWebhook {
  const network: Network = one.network.network;
  const made = new OwnWebhook(webhookHere(settings, one.running, network, store as never, log));
  doors.push(made);
  const tell = setInterval(() => one.member && made.onLedger(one.ledger), 50);
  const stop = made.stop.bind(made);
  made.stop = async () => {
    clearInterval(tell);
    await stop();
  };
  return made;
}

async function connected(gitlab: PracticeGitlab): Promise<LabMember> {
  const [one] = (await labMesh(['kang'])) as [LabMember];
  const token = one.running.box.sealForVoters(gitlab.adminToken);
  await one.change({ kind: 'connect-gitlab', url: gitlab.url, token, instance: null, runnerTokens: [] });
  return one;
}

const hooksOf = async (
  gitlab: PracticeGitlab,
  id: number,
): Promise<{ id: number; url: string; job_events: boolean; alert_status: string }[]> =>
  (await api(gitlab, 'GET', `/projects/${id}/hooks`)).json;
const jobIn = (one: LabMember): number => one.running.loop.state.jobs.lead?.queue.jobs.length ?? 0;
const yaml = 'nothing: {script: x, tags: [none], rules: [{if: $CI_PIPELINE_SOURCE == "api"}]}\n';
const allowLan = (gitlab: PracticeGitlab) =>
  api(gitlab, 'PUT', '/application/settings', { allow_local_requests_from_web_hooks_and_services: true });

describe('told at once', () => {
  it('hooks are made, a job that waits is seen at once, what is removed by hand comes back, and all go when it is disconnected', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, yaml);
    await allowLan(gitlab);
    const one = await connected(gitlab);
    const port = await freePort();
    const store = kept();
    const webhook = door(one, settingsOf(port), store);
    const [hook] = await until('a hook', async () => {
      const hooks = await hooksOf(gitlab, id);
      return hooks.length > 0 && hooks;
    });
    expect(hook).toMatchObject({ url: `http://127.0.0.1:${port}/autogit/mesh-1/${one.id}`, job_events: true });
    // Without it an idle queue is read each three seconds: right after a read, that is how long a job waits.
    const took: number[] = [];
    for (let round = 0; round < 3; round++) {
      const freshAt = () => one.running.loop.state.jobs.lead?.queue.freshAt ?? 0;
      const before = freshAt();
      await until('a read', () => freshAt() > before && one.running.loop.state.jobs.lead?.queue.askedAt === null);
      const made = await api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' });
      const began = performance.now();
      await until('the job is seen', () => jobIn(one) > 0);
      took.push(performance.now() - began);
      await api(gitlab, 'POST', `/projects/${id}/pipelines/${made.json.id}/cancel`);
      await until('the job is gone', () => jobIn(one) === 0);
    }
    took.sort((a, b) => a - b);
    expect(took[1]).toBeLessThan(900);
    expect(webhook.seen()).toMatchObject({ projects: 1, refused: 0, problem: null, url: `http://127.0.0.1:${port}` });
    expect(webhook.seen()?.hints).toBeGreaterThanOrEqual(3);

    const requests = new WebhookRequests(
      () => one.ledger,
      (sealed) => one.running.box.unseal(sealed),
      () => doors.at(-1) ?? null,
    );
    expect(await requests.webhookTest()).toEqual([
      { node: 'kang', url: hook?.url, ok: true, said: "heard: this machine leads, and looks at GitLab's queue" },
    ]);

    // A new start finds its own again, and takes away what is double; somebody else's stays.
    await webhook.stop();
    const was = hook?.id;
    await api(gitlab, 'POST', `/projects/${id}/hooks`, { url: `http://127.0.0.1:1/autogit/mesh-1/${one.id}` });
    await api(gitlab, 'POST', `/projects/${id}/hooks`, { url: `http://127.0.0.1:1/autogit/mesh-1/gone` });
    await api(gitlab, 'POST', `/projects/${id}/hooks`, { url: 'http://127.0.0.1:1/mine' });
    const again = door(one, settingsOf(port), store);
    await until('only what shall be', async () => (await hooksOf(gitlab, id)).length === 2);
    expect((await hooksOf(gitlab, id)).map(({ url }) => url).sort()).toEqual(
      [hook?.url, 'http://127.0.0.1:1/mine'].sort(),
    );
    expect((await hooksOf(gitlab, id)).map((one) => one.id)).toContain(was);
    expect((await requests.webhookTest()).map(({ ok }) => ok)).toEqual([true]);

    await one.change({ kind: 'disconnect-gitlab', now: true, force: false });
    await until('only the other one', async () => (await hooksOf(gitlab, id)).length === 1);
    await until('nothing is kept', () => !/\[\d/.test(store.values.get('webhook-hooks') ?? ''));
    expect(again.attention()).toEqual([]);
  });

  it('a GitLab that sends nothing to the LAN: said with the fix, and set as soon as it may; a door that is gone takes its hooks along', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, yaml);
    const one = await connected(gitlab);
    const port = await freePort();
    const store = kept();
    const webhook = door(one, settingsOf(port), store);
    await until('it is said', () => webhook.attention().length > 0);
    expect(webhook.attention()[0]).toMatchObject({
      code: 'webhook-problem',
      sentence: expect.stringContaining(`GitLab sends no webhooks to 127.0.0.1:${port}`),
      fix: expect.stringMatching(`Outbound requests, add to .* hooks may access: 127.0.0.1:${port}$`),
    });
    await api(gitlab, 'PUT', '/application/settings', { outbound_local_requests_whitelist: [`127.0.0.1:${port}`] });
    await webhook.stop();
    const again = door(one, settingsOf(port), store);
    await until('a hook', async () => (await hooksOf(gitlab, id)).length === 1);
    await until('all is well', () => again.attention().length === 0 && again.seen()?.projects === 1);
    await again.stop();
    door(one, null, store);
    await until('no hook', async () => (await hooksOf(gitlab, id)).length === 0);
    await until('nothing is kept', () => !/\[\d/.test(store.values.get('webhook-hooks') ?? ''));
    // The next agent has none of it in memory: what keeps hooks would read of them once more.
    let reads = 0;
    const get = (key: string) => store.get(key).finally(() => (reads += 1));
    await door(one, null, { ...store, get }).look();
    expect(reads).toBe(1);
    expect(JSON.stringify([...store.values, said])).not.toContain(gitlab.adminToken);
    expect(JSON.stringify([...store.values, said])).not.toContain(
      doorSecrets(gitlab.adminToken, 'mesh-1', one.id).token,
    );
  });

  it('in a GitLab that the mesh runs it allows its own door, and nothing else of the LAN; a machine that votes no more takes its hooks away', async () => {
    const gitlab = await practice();
    const ids = [await project(gitlab, yaml), await project(gitlab, yaml, 'second')];
    await api(gitlab, 'PUT', '/application/settings', { outbound_local_requests_whitelist: ['10.9.9.9'] });
    const secrets = doorSecrets('x', 'mesh-1', 'kang');
    const mesh = { id: 'mesh-1', name: 'home' };
    let epoch = 1;
    const ledger = {
      mesh,
      nodes: { kang: {} },
      gitlab: {
        get epoch() {
          return epoch;
        },
      },
    } as never;
    let mayLead = true;
    const wish = {
      ...{ gitlab: gitlab.url, adminToken: gitlab.adminToken, ledger, self: 'kang', door: 'http://127.0.0.1:1' },
      ...{ secrets, leads: true, isOurs: true },
    };
    const allowed = async (): Promise<unknown> =>
      (await api(gitlab, 'GET', '/application/settings')).json.outbound_local_requests_whitelist;
    const keeper = new HookKeeper({
      ...{ store: kept(), warn: (line) => said.push(line), info: (line) => said.push(line) },
      way: () => (mayLead ? { gitlab: gitlab.url, token: gitlab.adminToken } : null),
      wanted: () => (mayLead ? wish : null),
      wallMs: Date.now,
    });
    void keeper.look();
    await until('hooks', () => keeper.hooks === 2);
    // A GitLab of yesterday, from a backup, may not have them.
    const [lost] = await hooksOf(gitlab, ids[0] as number);
    await api(gitlab, 'DELETE', `/projects/${ids[0]}/hooks/${lost?.id}`);
    epoch = 2;
    await keeper.look();
    for (const id of ids) expect(await hooksOf(gitlab, id)).toHaveLength(1);
    const { json } = await api(gitlab, 'GET', '/application/settings');
    expect(json).toMatchObject({
      allow_local_requests_from_web_hooks_and_services: false,
      outbound_local_requests_whitelist: ['10.9.9.9', '127.0.0.1:1'],
    });
    // Its door has another port: the former one is nobody's, and the next who takes it would be told by GitLab.
    wish.door = 'http://127.0.0.1:2';
    await keeper.look();
    expect(await allowed()).toEqual(['10.9.9.9', '127.0.0.1:2']);
    // Another machine wrote the list of a moment before.
    await api(gitlab, 'PUT', '/application/settings', { outbound_local_requests_whitelist: ['10.9.9.9'] });
    await keeper.look();
    expect(await allowed()).toEqual(['10.9.9.9', '127.0.0.1:2']);
    // It votes no more, and the token is not sealed for it any more either.
    mayLead = false;
    await keeper.look();
    for (const id of ids) expect(await hooksOf(gitlab, id)).toEqual([]);
    expect(await allowed()).toEqual(['10.9.9.9']);
    await keeper.stop();
  });

  it('a person’s hook stays that has the number of one of ours: GitLab was put back to a state of before', async () => {
    const gitlab = await practice();
    const ids = [await project(gitlab, yaml), await project(gitlab, yaml, 'second')];
    await allowLan(gitlab);
    const wish = {
      ...{ gitlab: gitlab.url, adminToken: gitlab.adminToken, self: 'kang', door: 'http://127.0.0.1:1' },
      ledger: { mesh: { id: 'mesh-1', name: 'home' }, nodes: { kang: {} }, gitlab: { epoch: 1 } } as never,
      ...{ secrets: doorSecrets('x', 'mesh-1', 'kang'), leads: true, isOurs: false },
    };
    let hasDoor = true;
    const keeper = new HookKeeper({
      ...{ store: kept(), warn: (line) => said.push(line), info: (line) => said.push(line), wallMs: Date.now },
      way: () => ({ gitlab: gitlab.url, token: gitlab.adminToken }),
      wanted: () => (hasDoor ? wish : null),
    });
    await keeper.look();
    const [ours] = await hooksOf(gitlab, ids[0] as number);
    // As a restore and a person after it leave it: the number is another's.
    await api(gitlab, 'PUT', `/projects/${ids[0]}/hooks/${ours?.id}`, { url: 'http://127.0.0.1:1/mine' });
    hasDoor = false;
    await keeper.look();
    const left = await Promise.all(ids.map((id) => hooksOf(gitlab, id)));
    expect(left.map((hooks) => hooks.map(({ url }) => url))).toEqual([['http://127.0.0.1:1/mine'], []]);
    await keeper.stop();
  });

  it('what GitLab has switched off while this machine slept is made anew when it is awake, and works', async () => {
    const gitlab = await practice({ switchesHooksOff: true });
    const id = await project(gitlab, yaml);
    await allowLan(gitlab);
    const port = await freePort();
    const wish = {
      ...{ gitlab: gitlab.url, adminToken: gitlab.adminToken, self: 'kang', door: `http://127.0.0.1:${port}` },
      ledger: { mesh: { id: 'mesh-1', name: 'home' }, nodes: { kang: {} }, gitlab: { epoch: 1 } } as never,
      ...{ secrets: doorSecrets('x', 'mesh-1', 'kang'), leads: true, isOurs: false },
    };
    let wallMs = Date.now();
    const lines: string[] = [];
    const keeper = new HookKeeper({
      ...{ store: kept(), warn: (line) => lines.push(line), info: (line) => lines.push(line) },
      way: () => ({ gitlab: gitlab.url, token: gitlab.adminToken }),
      wanted: () => wish,
      wallMs: () => wallMs,
    });
    await keeper.look();
    const event = () => api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' });
    // Its door is not there: the machine sleeps. A pipeline is some events.
    await until('GitLab has switched it off', async () => {
      await event();
      return (await hooksOf(gitlab, id))[0]?.alert_status === 'temporarily_disabled';
    });
    const [before] = await hooksOf(gitlab, id);
    await keeper.look();
    expect(await hooksOf(gitlab, id)).toEqual([before]);
    wallMs += 8 * 3_600_000;
    await keeper.look();
    const [after, ...more] = await hooksOf(gitlab, id);
    expect(more).toEqual([]);
    expect(after).toMatchObject({ url: before?.url, alert_status: 'executable', job_events: true });
    expect(lines).toEqual(['webhooks: GitLab had switched 1 off, as this door did not answer; they are made anew']);
    let heard = 0;
    const awake = createServer((_, answer) => {
      heard += 1;
      answer.end();
    }).listen(port, '127.0.0.1');
    await event();
    await until('it is told', () => heard > 0);
    awake.close();
    await keeper.stop();
  });
});
