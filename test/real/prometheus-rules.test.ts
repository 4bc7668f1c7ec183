import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { exposition } from '../../node/metrics/exposition.ts';
import { seenOf } from '../unit/metrics-lab.ts';

/** The alerts, by Prometheus' own promtool (Debian): each rings in its case alone, and none where all is well. */
const rules = fileURLToPath(new URL('../../deploy/prometheus/autogit-node.rules.yml', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'autogit-promtool-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const promtool = (args: string[], input = ''): { code: number | null; said: string } => {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { input, encoding: 'utf8', timeout: 300_000 });
  return { code: status, said: `${stdout}${stderr}${error ? error.message : ''}` };
};

/** A value each minute, to the end of the test (`testOf`). */
const always = (value: number): string => `${value}x2900`;
const rising = (each: number): string => `0+${each}x2900`;
/** As `always`, until that minute. */
const until = (minute: number, before: number, after: number): string => `${before}x${minute} ${after}x2000`;

const two = ['a:7118', 'b:7118'];
const ofBoth = (series: (instance: string) => Record<string, string>): Record<string, string> =>
  Object.assign({}, ...two.map(series));

/** Two machines that are scraped, and see each other; a hosted GitLab with a copy, backups and drills. */
const well: Record<string, string> = ofBoth((instance) => {
  const own = `instance="${instance}",job="autogit-node"`;
  const said: [string, string, string][] = [
    ['up', '', always(1)],
    ['autogit_build_info', 'version="0.1.0"', always(1)],
    ['autogit_has_leader', '', always(1)],
    ['autogit_failures_tolerated', '', always(1)],
    ['autogit_voters', '', always(3)],
    ['autogit_machines_waiting', '', always(0)],
    ['autogit_jobs_oldest_waiting_seconds', '', always(20)],
    ['autogit_runs_lost_total', '', always(0)],
    ['autogit_bad_messages_total', '', always(1)],
    ['autogit_leader_changes_total', '', always(1)],
    ['autogit_runs_finished_total', 'end="success"', rising(1)],
    ['autogit_runs_finished_total', 'end="failed"', rising(1)],
    ['autogit_runs_finished_total', 'end="environment"', always(0)],
    ['autogit_sandboxes_total', 'executor="docker",outcome="failed"', always(0)],
    ['autogit_gitlab_requests_total', 'code="2xx"', rising(60)],
    ['autogit_gitlab_requests_total', 'code="none"', always(0)],
    ['autogit_gitlab_up', '', always(1)],
    ['autogit_gitlab_state', 'state="deploying"', always(0)],
    ['autogit_gitlab_epoch', '', always(3)],
    ['autogit_gitlab_loss_pushes', '', always(0)],
    ['autogit_gitlab_loss_seconds', '', always(2)],
    ['autogit_gitlab_backups_wanted', '', always(1)],
    ['autogit_gitlab_backup_problem', '', always(0)],
    // promtool's clock begins at 0.
    ['autogit_gitlab_last_backup_timestamp_seconds', '', rising(60)],
    ...['autogit_gitlab_request_seconds', 'autogit_ledger_commit_seconds', 'autogit_store_write_seconds'].flatMap(
      (name): [string, string, string][] => [
        [`${name}_bucket`, 'le="0.1"', rising(60)],
        [`${name}_bucket`, 'le="5"', rising(60)],
        [`${name}_bucket`, 'le="+Inf"', rising(60)],
      ],
    ),
    ...['kang', 'desktop-1'].flatMap((node): [string, string, string][] => [
      ['autogit_machine_up', `node="${node}"`, always(1)],
      ['autogit_machine_left', `node="${node}"`, always(0)],
      ['autogit_machine_info', `node="${node}",version="0.1.0"`, always(1)],
      ['autogit_machine_cpu_cores', `node="${node}"`, always(8)],
      ['autogit_machine_cpu_used_cores', `node="${node}"`, always(2)],
      ['autogit_machine_memory_bytes', `node="${node}"`, always(1000)],
      ['autogit_machine_memory_used_bytes', `node="${node}"`, always(400)],
      ['autogit_machine_disk_bytes', `node="${node}"`, always(1000)],
      ['autogit_machine_disk_used_bytes', `node="${node}"`, always(700)],
    ]),
    ['autogit_gpu_problem', 'node="desktop-1",gpu="0"', always(0)],
    ['autogit_gitlab_copy_age_seconds', 'node="desktop-1"', always(2)],
    ['autogit_gitlab_drill_failed', 'node="desktop-1"', always(0)],
    ['autogit_gitlab_drill_proven_timestamp_seconds', 'node="desktop-1"', rising(60)],
  ];
  return Object.fromEntries(said.map(([name, labels, values]) => [`${name}{${own}${labels && `,${labels}`}}`, values]));
});

const at = (instance: string, name: string, labels = ''): string =>
  `${name}{instance="${instance}",job="autogit-node"${labels && `,${labels}`}}`;
const everywhere = (name: string, values: string, labels = ''): Record<string, string> =>
  ofBoth((instance) => ({ [at(instance, name, labels)]: values }));
const slow = (name: string): Record<string, string> => ({
  ...everywhere(`${name}_bucket`, always(0), 'le="0.1"'),
});
const [a, b] = two as [string, string];
const not = (series: Record<string, string>): Record<string, null> =>
  Object.fromEntries(Object.keys(series).map((name) => [name, null]));

/** An alert, what is otherwise than well (null: not there), and the minute at which it rings for sure; `also`: what rings with it. */
const cases: { alert: string; is: Record<string, string | null>; minutes: number; also?: string[] }[] = [
  {
    alert: 'AutogitErrorRate',
    is: { [at(a, 'autogit_runs_finished_total', 'end="environment"')]: rising(1) },
    minutes: 60,
  },
  { alert: 'AutogitQueueBackup', is: { [at(b, 'autogit_jobs_oldest_waiting_seconds')]: always(1000) }, minutes: 10 },
  {
    alert: 'AutogitSandboxCreationFailures',
    is: { [at(b, 'autogit_sandboxes_total', 'executor="docker",outcome="failed"')]: rising(1) },
    minutes: 30,
  },
  {
    alert: 'AutogitMemorySaturation',
    is: everywhere('autogit_machine_memory_used_bytes', always(990), 'node="kang"'),
    minutes: 15,
  },
  {
    alert: 'AutogitCpuSaturation',
    is: everywhere('autogit_machine_cpu_used_cores', always(8), 'node="kang"'),
    minutes: 90,
  },
  { alert: 'AutogitAgentNotScraped', is: { [at(b, 'up')]: always(0) }, minutes: 10 },
  { alert: 'AutogitAbsent', is: not(everywhere('autogit_build_info', '', 'version="0.1.0"')), minutes: 10 },
  { alert: 'AutogitNoLeader', is: everywhere('autogit_has_leader', always(0)), minutes: 5 },
  { alert: 'AutogitLeaderChanges', is: { [at(a, 'autogit_leader_changes_total')]: rising(1) }, minutes: 90 },
  { alert: 'AutogitTooFewMachines', is: everywhere('autogit_failures_tolerated', always(0)), minutes: 20 },
  { alert: 'AutogitMachineGone', is: everywhere('autogit_machine_up', always(0), 'node="desktop-1"'), minutes: 10 },
  { alert: 'AutogitMachineWaiting', is: everywhere('autogit_machines_waiting', always(1)), minutes: 20 },
  { alert: 'AutogitRunsLost', is: { [at(a, 'autogit_runs_lost_total')]: until(30, 0, 1) }, minutes: 40 },
  {
    alert: 'AutogitJobFitsNowhere',
    is: everywhere('autogit_attention', always(1), 'code="tags-unsatisfiable",severity="warn"'),
    minutes: 15,
  },
  {
    alert: 'AutogitMachineCordoned',
    is: everywhere('autogit_attention', always(1), 'code="job-faults",severity="warn"'),
    minutes: 2,
  },
  {
    alert: 'AutogitDiskFilling',
    is: everywhere('autogit_machine_disk_used_bytes', always(950), 'node="kang"'),
    minutes: 20,
  },
  {
    alert: 'AutogitGpuProblem',
    is: everywhere('autogit_gpu_problem', always(1), 'node="desktop-1",gpu="0"'),
    minutes: 10,
  },
  { alert: 'AutogitStoreSlow', is: slow('autogit_store_write_seconds'), minutes: 60 },
  { alert: 'AutogitCommitSlow', is: slow('autogit_ledger_commit_seconds'), minutes: 60 },
  {
    alert: 'AutogitVersionsDiffer',
    is: everywhere('autogit_machine_info', always(1), 'node="desktop-2",version="0.2.0"'),
    minutes: 1500,
  },
  { alert: 'AutogitBadMessages', is: { [at(b, 'autogit_bad_messages_total')]: rising(1) }, minutes: 90 },
  {
    alert: 'AutogitAttention',
    is: everywhere('autogit_attention', always(1), 'code="no-quorum",severity="fail"'),
    minutes: 10,
  },
  { alert: 'AutogitGitlabDown', is: everywhere('autogit_gitlab_up', always(0)), minutes: 10 },
  {
    alert: 'AutogitGitlabErrors',
    is: { [at(a, 'autogit_gitlab_requests_total', 'code="none"')]: rising(60) },
    minutes: 40,
  },
  { alert: 'AutogitGitlabSlow', is: slow('autogit_gitlab_request_seconds'), minutes: 60 },
  { alert: 'AutogitPushesUnprotected', is: everywhere('autogit_gitlab_loss_pushes', always(1)), minutes: 20 },
  {
    alert: 'AutogitReplicaBehind',
    is: everywhere('autogit_gitlab_copy_age_seconds', always(900), 'node="desktop-1"'),
    minutes: 20,
  },
  {
    alert: 'AutogitReplicaBehind',
    is: everywhere('autogit_gitlab_loss_seconds', always(1_000_000)),
    minutes: 20,
  },
  {
    alert: 'AutogitBackupOld',
    is: everywhere('autogit_gitlab_last_backup_timestamp_seconds', always(0)),
    minutes: 2300,
  },
  { alert: 'AutogitBackupFailing', is: everywhere('autogit_gitlab_backup_problem', always(1)), minutes: 40 },
  {
    alert: 'AutogitDrillFailed',
    is: everywhere('autogit_gitlab_drill_failed', always(1), 'node="desktop-1"'),
    minutes: 10,
  },
  {
    alert: 'AutogitDrillOld',
    is: everywhere('autogit_gitlab_drill_proven_timestamp_seconds', always(-200_000), 'node="desktop-1"'),
    minutes: 1200,
  },
  { alert: 'AutogitGitlabMoved', is: everywhere('autogit_gitlab_epoch', until(30, 3, 4)), minutes: 35 },
];

/** What looks like trouble and is none. */
const calm: { name: string; is: Record<string, string | null>; minutes: number }[] = [
  { name: 'all is well, at any time', is: {}, minutes: 30 },
  { name: 'all is well, after a day', is: {}, minutes: 1500 },
  {
    name: 'a desktop is off for the night',
    is: {
      ...everywhere('autogit_machine_up', always(0), 'node="desktop-1"'),
      ...everywhere('autogit_machine_left', always(1), 'node="desktop-1"'),
    },
    minutes: 300,
  },
  {
    name: 'one agent that is cut off calls all others gone, and the rest of the mesh does not',
    is: {
      [at(b, 'autogit_has_leader')]: always(0),
      [at(b, 'autogit_machine_up', 'node="kang"')]: always(0),
    },
    minutes: 60,
  },
  {
    name: 'GitLab is being set up',
    is: {
      ...everywhere('autogit_gitlab_up', always(0)),
      ...everywhere('autogit_gitlab_state', always(1), 'state="deploying"'),
    },
    minutes: 60,
  },
  {
    name: 'nobody asked for backups, copies or drills, and there is no GPU',
    is: {
      ...everywhere('autogit_gitlab_backups_wanted', always(0)),
      ...not(everywhere('autogit_gitlab_last_backup_timestamp_seconds', '')),
      ...not(everywhere('autogit_gitlab_copy_age_seconds', '', 'node="desktop-1"')),
      ...not(everywhere('autogit_gitlab_loss_seconds', '')),
      ...not(everywhere('autogit_gitlab_drill_proven_timestamp_seconds', '', 'node="desktop-1"')),
    },
    minutes: 1500,
  },
  {
    name: 'two machines, of which none may be lost',
    is: { ...everywhere('autogit_voters', always(2)), ...everywhere('autogit_failures_tolerated', always(0)) },
    minutes: 60,
  },
  {
    name: 'one job of two fails for its machine',
    is: {
      ...everywhere('autogit_runs_finished_total', always(1), 'end="success"'),
      ...everywhere('autogit_runs_finished_total', always(0), 'end="failed"'),
      [at(a, 'autogit_runs_finished_total', 'end="environment"')]: until(30, 0, 1),
    },
    minutes: 40,
  },
];

const testOf = (name: string, is: Record<string, string | null>, minutes: number, ringing: string[]) => ({
  name,
  interval: minutes > 200 ? '5m' : '1m',
  input_series: Object.entries({ ...well, ...is }).flatMap(([series, values]) =>
    values === null ? [] : [{ series, values: values.replaceAll('x2900', `x${minutes + 5}`) }],
  ),
  promql_expr_test: [
    {
      expr: 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
      eval_time: `${minutes}m`,
      exp_samples: ringing.map((alert) => ({ labels: `{alertname="${alert}"}`, value: 1 })),
    },
  ],
});

/** What takes hours is looked at each 20 minutes. */
function tested(tests: ReturnType<typeof testOf>[], every = '1m'): ReturnType<typeof promtool> {
  const file = join(folder, 'tests.yml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ rule_files: [rules], evaluation_interval: every, tests }));
  return promtool(['test', 'rules', file]);
}

it('promtool takes the rules, and what is scraped', async () => {
  expect(promtool(['check', 'rules', rules])).toMatchObject({ code: 0 });
  // promtool complains of names and units that are not as Prometheus would have them.
  expect(promtool(['check', 'metrics'], await exposition(seenOf()))).toEqual({ code: 0, said: '' });
});

it('each alert rings in its case, and no other does; none rings where all is well', () => {
  const all = [...readFileSync(rules, 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name as string);
  expect(all.filter((name) => !cases.some(({ alert }) => alert === name))).toEqual([]);
  const tests = [
    ...cases.map(({ alert, is, minutes, also = [] }) => testOf(alert, is, minutes, [alert, ...also])),
    ...calm.map(({ name, is, minutes }) => testOf(name, is, minutes, [])),
  ];
  const isLong = ({ interval }: ReturnType<typeof testOf>): boolean => interval === '5m';
  expect(tested(tests.filter((one) => !isLong(one)))).toMatchObject({ code: 0 });
  expect(tested(tests.filter(isLong), '20m')).toMatchObject({ code: 0 });
  // And promtool would say it.
  expect(tested([testOf('another one rings', {}, 30, ['AutogitNoLeader'])]).code).toBe(1);
  expect(tested([testOf('one more rings', cases[0]?.is ?? {}, 60, [])]).code).toBe(1);
}, 300_000);
