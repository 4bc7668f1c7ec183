import { existsSync } from 'node:fs';
import { z } from 'zod';
import { sentenceOf } from '../../protocol/errors.ts';
import { limitsFix, notLimited } from '../executors/engine-limits.ts';
import { lacksToolkit, toolkitFix } from '../executors/nvidia-toolkit.ts';
import { askEngine, canAsk, dockerAddress } from '../machine/docker-ask.ts';
import { type Finding, finding } from './finding.ts';

const Version = z.object({ Version: z.string(), ApiVersion: z.string() });
const Info = z.object({
  CgroupVersion: z.string().optional(),
  CgroupDriver: z.string().optional(),
  Driver: z.string().optional(),
  MemoryLimit: z.boolean().nullish(),
  CpuCfsQuota: z.boolean().nullish(),
  PidsLimit: z.boolean().nullish(),
  Runtimes: z.record(z.string(), z.unknown()).nullish(),
  DiscoveredDevices: z.array(z.looseObject({ ID: z.string().optional() })).nullish(),
});
/** The oldest API with what the docker executor uses. */
const leastApi = 1.41;
const install =
  'allow jobs without isolation (--executor process), or install it: curl -fsSL https://get.docker.com | sh';

/** Engine, API and cgroups. No engine is a warning: the process executor needs none. `exists`: of a file of this machine. */
export async function checkDocker(
  named: string | null,
  exists: (path: string) => boolean = existsSync,
): Promise<Finding> {
  const address = dockerAddress(named, { forJobs: true });
  if (address === null)
    return finding('docker', 'warn', 'no Docker Engine here: jobs with an image cannot run', install);
  if (address.startsWith('ssh:'))
    return finding(
      'docker',
      'warn',
      `${address}: engines behind ssh:// are not supported`,
      'name one that is reached without SSH: --docker-host unix:///var/run/docker.sock',
    );
  if (!canAsk(address))
    return finding('docker', 'warn', `${address} is not looked at by doctor (unix:// and tcp:// are)`);
  try {
    const version = Version.parse(await askEngine(address, '/version'));
    const info = Info.parse(await askEngine(address, '/info'));
    const said = `${version.Version} on ${address.replace(/^unix:\/\//, '')}, cgroup v${info.CgroupVersion ?? '?'} (${info.CgroupDriver ?? '?'}), ${info.Driver ?? '?'}`;
    if (Number(version.ApiVersion) < leastApi)
      return finding('docker', 'fail', `${said}: API ${version.ApiVersion} is too old, ${leastApi} is needed`, install);
    if (lacksToolkit(info, exists))
      return finding('docker', 'warn', `${said}: it cannot give this machine’s NVIDIA GPU to a job`, toolkitFix);
    const missing = notLimited(info);
    if (missing.length > 0)
      return finding('docker', 'warn', `${said}: it cannot limit ${missing.join(', ')} of a job`, limitsFix);
    return finding('docker', 'ok', said);
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === 'EACCES';
    const verb = /^no answer/.test((error as Error).message) ? 'restart' : 'start';
    return finding(
      'docker',
      'warn',
      denied ? `${address} may not be used by this user` : `${address} does not answer: ${sentenceOf(error)}`,
      denied ? 'log in again after: sudo usermod -aG docker "$USER"' : `sudo systemctl ${verb} docker`,
    );
  }
}
