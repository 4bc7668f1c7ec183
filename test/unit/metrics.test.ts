import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { callTally, countCall } from '../../gitlab-bridge/call-tally.ts';
import { Spread } from '../../gitlab-bridge/spread.ts';
import { Counts } from '../../node/metrics/counts.ts';
import { exposition, familiesOf } from '../../node/metrics/exposition.ts';
import { type Family, most } from '../../node/metrics/family.ts';
import { seenOf } from './metrics-lab.ts';

/** `name{label="value"}` -> value, as a reader of the text finds it. */
async function scraped(seen = seenOf()): Promise<Map<string, string>> {
  const lines = (await exposition(seen)).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]));
}
const samplesOf = (family: Family) => (family.type === 'histogram' ? [] : family.samples);

describe('what is scraped', () => {
  it('says of each machine, GPU and job what it is', async () => {
    const seen = await scraped();
    const expected = {
      'autogit_build_info{version="0.1.0",node_version="v20.19.0"}': '1',
      autogit_joined: '1',
      autogit_has_leader: '1',
      autogit_is_leader: '1',
      autogit_voters: '3',
      autogit_failures_tolerated: '1',
      'autogit_machine_up{node="desktop-1"}': '1',
      'autogit_machine_state{node="kang",state="leader"}': '1',
      'autogit_machine_state{node="kang",state="gone"}': '0',
      'autogit_machine_runs{node="desktop-1"}': '1',
      'autogit_gpu_info{node="desktop-1",gpu="0",vendor="nvidia",model="rtx-3090-ti"}': '1',
      'autogit_gpu_busy_ratio{node="desktop-1",gpu="0"}': '0.97',
      'autogit_gpu_held{node="desktop-1",gpu="0"}': '1',
      'autogit_gpu_problem{node="desktop-1",gpu="0"}': '0',
      'autogit_gpu_problem{node="desktop-2",gpu="0"}': '1',
      // A card that failed is nobody's.
      'autogit_gpu_foreign{node="desktop-2",gpu="0"}': '0',
      'autogit_jobs{state="waiting"}': '1',
      'autogit_jobs{state="running"}': '1',
      'autogit_jobs{state="lost"}': '0',
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, seen.get(name)]))).toEqual(expected);
    expect(Number(seen.get('autogit_jobs_oldest_waiting_seconds'))).toBeGreaterThanOrEqual(20);
  });

  it('says of a hosted GitLab what may be lost, and how old what would save it is', async () => {
    const seen = await scraped();
    const expected = {
      autogit_gitlab_up: '0',
      'autogit_gitlab_state{state="degraded"}': '1',
      'autogit_gitlab_host{node="kang"}': '1',
      autogit_gitlab_epoch: '3',
      autogit_gitlab_flagged: '1',
      autogit_gitlab_sides: '1',
      'autogit_gitlab_copy_age_seconds{node="desktop-1"}': '1.5',
      'autogit_gitlab_copy_in_sync{node="desktop-2"}': '0',
      autogit_gitlab_loss_pushes: '1',
      autogit_gitlab_loss_seconds: '+Inf',
      'autogit_gitlab_drill_failed{node="desktop-1"}': '1',
      autogit_gitlab_last_backup_timestamp_seconds: `${Date.parse('2025-11-21T10:00:00Z') / 1000}`,
      autogit_gitlab_backup_problem: '1',
      'autogit_webhook_deliveries_total{outcome="refused"}': '2',
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, seen.get(name)]))).toEqual(expected);
    // Nobody knows how old that one's is.
    expect(seen.has('autogit_gitlab_copy_age_seconds{node="desktop-2"}')).toBe(false);
  });

  it('what one does not know has no value: a machine that is away, backups that nobody asked for', async () => {
    const known = seenOf();
    const { status } = known.mesh;
    const nodes = status.nodes.map((row) => (row.node === 'desktop-1' ? { ...row, state: 'gone' as const } : row));
    const { vault: _, lastBackup: __, ...gitlab } = status.gitlab;
    const mesh = { ...known.mesh, status: { ...status, nodes, gitlab: { ...gitlab, lastBackup: null } } };
    const seen = await scraped({ ...known, mesh });
    expect(seen.get('autogit_machine_up{node="desktop-1"}')).toBe('0');
    expect(
      [...seen.keys()].filter((name) => /machine_memory_used.*desktop-1|gpu.*desktop-1|last_backup/.test(name)),
    ).toEqual([]);
    expect(seen.get('autogit_gitlab_backups_wanted')).toBe('0');
    // Wanted, and never made, is as old as can be.
    const never = {
      ...mesh,
      status: { ...mesh.status, gitlab: { ...gitlab, lastBackup: null, vault: status.gitlab.vault } },
    };
    expect((await scraped({ ...known, mesh: never })).get('autogit_gitlab_last_backup_timestamp_seconds')).toBe('0');
  });

  it("one that does not lead knows how many wait by the leader's report, and since when by its answer", async () => {
    const known = seenOf();
    const status = { ...known.mesh.status, queue: { ...known.mesh.status.queue, waiting: 186 } };
    const jobs = known.mesh.jobs.filter(({ state }) => state !== 'waiting');
    const at = (oldestQueuedAt: number | null | undefined) =>
      scraped({ ...known, mesh: { ...known.mesh, status, jobs, oldestQueuedAt } });
    const told = await at(known.mesh.wallMs - 90_000);
    expect([told.get('autogit_jobs{state="waiting"}'), told.get('autogit_jobs{state="running"}')]).toEqual([
      '186',
      '1',
    ]);
    expect(told.get('autogit_jobs_oldest_waiting_seconds')).toBe('90');
    expect((await at(null)).get('autogit_jobs_oldest_waiting_seconds')).toBe('0');
    // Of an earlier version, or of a leader that does not answer.
    expect((await at(undefined)).has('autogit_jobs_oldest_waiting_seconds')).toBe(false);
  });

  it('of a machine that waits to be let in: what its agent is, and nothing of a mesh', async () => {
    const seen = await scraped({ ...seenOf(), mesh: null } as never);
    expect(seen.get('autogit_joined')).toBe('0');
    expect([...seen.keys()].filter((name) => /machine_up|gitlab_state|has_leader/.test(name))).toEqual([]);
  });

  it("keeps to Prometheus' conventions, and every metric once", () => {
    const families = familiesOf(seenOf());
    expect(families.length).toBeGreaterThan(70);
    expect(new Set(families.map(({ name }) => name)).size).toBe(families.length);
    for (const { name, help, type } of families) {
      expect(name).toMatch(/^(autogit|process|nodejs)_[a-z][a-z_]*[a-z]$/);
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      // Base units alone, and a sentence that ends.
      expect(name).not.toMatch(/_(ms|millis|percent|mib|gib|kb|minutes)(_|$)/);
      expect([name, /^[A-Z].*\.$/.test(help), help.includes('\n')]).toEqual([name, true, false]);
    }
  });

  it('docs/metrics.md has each, with its type and labels, and no other', () => {
    const page = readFileSync(fileURLToPath(new URL('../../docs/metrics.md', import.meta.url)), 'utf8');
    const rows = [...page.matchAll(/^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \|/gm)].map((row) =>
      row.slice(1, 4).join(' ').trim(),
    );
    const labelsOf = (family: Family) => [...new Set(samplesOf(family).flatMap(({ labels }) => Object.keys(labels)))];
    const families = familiesOf(seenOf()).map((family) =>
      `${family.name} ${family.type} ${labelsOf(family)
        .map((key) => `\`${key}\``)
        .join(' ')}`.trim(),
    );
    expect(rows).toEqual(families);
  });

  it('has few and short labels, whatever a mesh is called and however large it is', async () => {
    const known = seenOf();
    const { status } = known.mesh;
    const [row] = status.nodes as [(typeof status.nodes)[number]];
    const name = (index: number): string => `${index}"\\\n{} ${'x'.repeat(5_000)}`;
    const nodes = Array.from({ length: 500 }, (_, index) => ({ ...row, node: name(index), os: name(index) }));
    const attention = Array.from({ length: 900 }, (_, index) => ({
      ...{ code: `made-up-${index}`, severity: 'info' as const },
      ...{ sentence: 'SENTENCE', fix: null },
    }));
    const gpu = { uuid: 'g', vendor: 'nvidia' as const, model: name(1), memoryBytes: 1 };
    const many = [...known.mesh.measured.values()].map((one) => ({
      ...one,
      capacity: { ...one.capacity, gpus: Array.from({ length: 32 }, () => gpu) },
    }));
    const measured = new Map([...known.mesh.measured.keys()].map((node, index) => [node, many[index] as never]));
    const jobs = known.mesh.jobs.map((job) => ({ ...job, name: 'JOB', project: 'PROJECT', because: 'BECAUSE' }));
    const seen = { ...known, mesh: { ...known.mesh, jobs, measured, status: { ...status, nodes, attention } } };
    for (const family of familiesOf(seen)) {
      const samples = samplesOf(family);
      expect([family.name, samples.length <= most.machines * 8]).toEqual([family.name, true]);
      for (const { labels } of samples)
        for (const value of Object.values(labels)) expect(value.length).toBeLessThanOrEqual(64);
    }
    const gpus = familiesOf(seen).find((family) => family.name === 'autogit_gpu_info') as Family;
    expect(samplesOf(gpus).length).toBe(most.gpus);
    const text = await exposition(seen);
    expect(text).not.toMatch(/SENTENCE|JOB|PROJECT|BECAUSE/);
    // Each line is one: what a stranger calls a machine begins no other.
    const line = /^(#.*|[a-z_]+(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? \S+|)$/;
    expect(text.split('\n').filter((one) => !line.test(one))).toEqual([]);
  });
});

describe('what an agent counts', () => {
  it('events of its log, by the word that tells them apart', async () => {
    const counts = new Counts();
    counts.event('leader-elected', { term: 2 });
    counts.event('leader-lost', { why: 'refused' });
    counts.event('leader-lost', { why: 'a word of a later version' });
    counts.event('run-finished', { state: 'success', fault: null, tookMs: 4_000 });
    counts.event('run-finished', { state: 'failed', fault: null, tookMs: null });
    counts.event('run-finished', { state: 'failed', fault: 'environment', tookMs: -5 });
    counts.place('docker', 'made');
    counts.place('docker', 'failed');
    const seen = await scraped(seenOf(counts));
    const expected = {
      autogit_leader_changes_total: '1',
      'autogit_leader_losses_total{reason="refused"}': '1',
      'autogit_leader_losses_total{reason="other"}': '1',
      'autogit_runs_finished_total{end="success"}': '1',
      'autogit_runs_finished_total{end="failed"}': '1',
      'autogit_runs_finished_total{end="environment"}': '1',
      'autogit_runs_finished_total{end="other"}': '0',
      'autogit_run_seconds_bucket{le="1"}': '0',
      'autogit_run_seconds_bucket{le="5"}': '1',
      'autogit_run_seconds_bucket{le="+Inf"}': '1',
      autogit_run_seconds_sum: '4',
      autogit_run_seconds_count: '1',
      'autogit_sandboxes_total{executor="docker",outcome="failed"}': '1',
      'autogit_sandboxes_total{executor="process",outcome="failed"}': '0',
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, seen.get(name)]))).toEqual(expected);
  });

  it('how long a ledger takes to be committed: of that very one, once', () => {
    const counts = new Counts();
    counts.accepted({ term: 1, version: 1 }, 1_000);
    counts.accepted({ term: 1, version: 2 }, 1_010);
    counts.accepted({ term: 2, version: 1 }, 1_020);
    counts.committed({ term: 1, version: 2 }, 1_030);
    expect(counts.commitSeconds.counts.reduce((sum, n) => sum + n, 0)).toBe(1);
    expect(counts.commitSeconds.sum).toBeCloseTo(0.02);
    counts.committed({ term: 1, version: 2 }, 1_040);
    counts.committed({ term: 2, version: 1 }, 1_120);
    expect(counts.commitSeconds.sum).toBeCloseTo(0.12);
    for (let version = 0; version < 10_000; version++) counts.accepted({ term: 3, version }, 0);
    counts.committed({ term: 3, version: 9_999 }, 1);
    expect(counts.commitSeconds.counts.reduce((sum, n) => sum + n, 0)).toBe(3);
  });

  it('a spread has a place for each value, and none for what is no time', () => {
    const spread = new Spread([1, 10]);
    for (const value of [0, 1, 1.5, 10, 11, -1, Number.NaN, Number.POSITIVE_INFINITY]) spread.add(value);
    expect([spread.counts, spread.sum]).toEqual([[2, 2, 1], 23.5]);
  });

  it("calls of GitLab's API by what came of them, and nothing else", () => {
    const before = { ...callTally.ends };
    countCall('/api/v4/jobs/request', 204, 12);
    countCall('/gitlab/api/graphql', 503, 12);
    countCall('/api/v4/version', null, 12);
    countCall('/api/v4/version', 99, 12);
    countCall('/some-bucket/artifacts.zip', 403, 12);
    const more = Object.fromEntries(
      Object.entries(callTally.ends).map(([end, n]) => [end, n - (before[end as '2xx'] ?? 0)]),
    );
    expect(more).toEqual({ '2xx': 1, '3xx': 0, '4xx': 0, '5xx': 1, none: 1 });
  });
});
