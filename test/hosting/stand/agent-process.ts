import { HookDoor } from '../../../node/hosting/push/hook-door.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import { Machine, roundsTo } from './machine.ts';

/** The host's agent and a standby's in a process of their own, to be killed: `agent.mjs <folder>`. Adopts what is mounted. */
const folder = process.argv[2] as string;
const host = await Machine.make('host', folder);
const standby = await Machine.make('standby', folder);
await host.open();
await standby.open();
const rounds = roundsTo(host, standby, (words) => console.log(`problem ${words}`));
// Told of by its step, so that the test kills it there.
standby.tools.before = async (step) => console.log(`step ${step}`);
await HookDoor.open([`${folder}/door/hook.sock`], {
  ask: (gone) => {
    console.log('asked');
    return rounds.ask(gone);
  },
  settled: () => rounds.settled(),
  aloneWords: () => 'this push is on one machine only',
  waitWords: () => '',
}).catch((error) => {
  console.log(`problem ${sentenceOf(error)}`);
  process.exit(1);
});
rounds.start();
console.log('ready');
