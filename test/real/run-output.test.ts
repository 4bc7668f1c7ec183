import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { plainText, RunLab } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

it('what a script prints stands in the trace byte for byte, whatever it is (public-reports 21)', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'odd: { script: ["cat odd"] }\n', odd: '' });
  const printed = Buffer.concat([
    Buffer.from(
      '10 %\r50 %\r100 %\r\nbell \x07, back\b, nul \0, page \f\n\x1b[31;1mred\x1b[0m \x1b]0;title\x07 \x1b[2J\n',
    ),
    Buffer.from('section_start:1700000000:own[collapsed=true]\r\x1b[0KIts own\nsection_end:1700000000:own\r\x1b[0K\n'),
    Buffer.from('::step 0 begin\n0 end 0 0\n'),
    // No UTF-8, and a letter of which the last byte is missing.
    ...[Buffer.from([0xff, 0xfe, 0x80, 0xe4, 0x0a, 0xf0, 0x9f, 0x98, 0x0a]), randomBytes(70_000), Buffer.from('\n')],
    ...[Buffer.alloc(3_000_000, 'long line '), Buffer.from('\nends without a line')],
  ]);
  writeFileSync(join(lab.folder, 'tree', 'odd'), printed);
  await lab.git('commit', '-q', '-a', '-m', 'odd');
  const { jobs } = await lab.admin.readQueue(100);
  for (const { job } of jobs) await lab.admin.cancelJob(lab.projectId, job);
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  await lab.agent();
  const ended = await lab.ended(await lab.begin());
  expect(ended.result).toMatchObject({ state: 'success' });
  const answer = await fetch(`${lab.gitlab.url}/api/v4/projects/${lab.projectId}/jobs/${ended.job}/trace`, {
    headers: { 'PRIVATE-TOKEN': lab.gitlab.adminToken },
  });
  const trace = Buffer.from(await answer.arrayBuffer());
  const at = trace.indexOf(printed.subarray(0, 20));
  const found = trace.subarray(at, at + printed.length);
  // Whole buffers are compared by themselves: to tell how two of MiBs differ takes minutes.
  const differs = found.findIndex((byte, index) => byte !== printed[index]);
  expect([at > 0, found.length, differs]).toEqual([true, printed.length, -1]);
  expect(trace.toString('latin1', at + printed.length)).toMatch(/^\nsection_end:/);
});

it('artifacts that are not there fail no job, and after_script has run before they are looked for (public-reports 23)', async () => {
  const artifacts = (path: string) => `artifacts: { paths: ['${path}'] }`;
  lab = await RunLab.start({
    '.gitlab-ci.yml': `none: { script: ['true'], ${artifacts('no/such')} }\ngit: { script: ['true'], ${artifacts('.git/config')} }\nlate: { script: ['true'], after_script: ['echo late >made'], ${artifacts('made')} }\n`,
  });
  await lab.agent();
  for (const [said, sent] of [
    ['WARNING: no/such: no matching files\nNo files to upload\nJob succeeded', false],
    ["WARNING: .git/config: what is git's own is never taken\nNo files to upload\nJob succeeded", false],
    ['made: found 1 matching artifact files and directories\n', true],
  ] as const) {
    const ended = await lab.ended(await lab.begin());
    const trace = plainText(await lab.traceAt(ended));
    expect(ended.result, trace).toMatchObject({ state: 'success' });
    expect(trace).toContain(said);
    expect(trace.includes('201 Created'), trace).toBe(sent);
  }
});
