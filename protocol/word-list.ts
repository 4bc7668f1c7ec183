/**
 * 256 short English words, one per byte, for the four words that two screens show while a machine waits for approval
 * (DESIGN §4). Any two differ in at least three letters and in their first four, so that a glance or a call across
 * the room tells them apart. The order is part of the protocol: never change it.
 */
export const words: readonly string[] = `
acid acorn agent alarm alpha amber anchor angle apron atlas attic autumn avocado badge bamboo banjo barrel basil
basket beacon beard beaver bench bishop blue bonus boot bottle brick bronze brush buffalo cabin cactus camel
canoe cargo carpet castle cedar cello cement cheese cherry chimney cinema circle citrus clay cliff clock clover
cocoa coffee copper coral cotton cousin coyote cradle crayon cricket crown crystal cube cupid daisy dancer
decade delta denim desert diamond doctor dolphin donkey drum echo eclipse eight elbow elder elm empire engine
equal errand exit fable falcon farmer feather fern fiddle fig finger forest fossil galaxy garden garlic ghost
giant glacier globe goblet gold gravel guitar harbor helmet hobby hotel humor hunter igloo index indigo ink iris
island ivory jaguar jasmine jewel jigsaw joker kayak kernel kiosk kitten kiwi koala ladder lagoon lamp lantern
lemon lentil lily linen lizard lobster lunar magnet meadow mentor mercury metal mimosa mirror mosaic moth muffin
museum mustard napkin nectar needle nickel ninja nutmeg oboe ocean octopus olive onion orange orbit orchid otter
oxygen palace panda panther paper parrot pebble pelican phoenix pickle pigeon pillow pixel planet pocket poem
polka poppy pumpkin puzzle python quartz queen quilt rabbit radio raisin recipe ribbon river rose saffron salad
saturn scarf school scooter shell sixty skate sketch smoke snow soda spider spruce squid stereo storm summit
sunset swan syrup teapot temple toast tomato topaz torch tractor trophy trumpet tulip tundra turtle twelve
unicorn urban valley vanilla viking violin volcano voyage waffle walnut warrior whale wheat window yacht yogurt
zebra zenith zigzag
`
  .trim()
  .split(/\s+/);

/** The words of some bytes, joined by a dash: `coral-sixty-lamp-otter`. Eight bits a word. */
export const wordsOf = (bytes: Uint8Array): string => [...bytes].map((byte) => words[byte] as string).join('-');
