"""The tables of ``people.py``: words that mean a person, hint at one, or only look like one.

They were built from the vocabulary of COCO's and Flickr's human captions. Entries are separated by
commas and may contain spaces; plurals are derived.
"""

from __future__ import annotations

# Nouns for people, in addition to those among the lexicon's objects.
PEOPLE = (
    "somebody, everyone, everybody, anyone, anybody, human being, dude, fella, chap, lad, lass,"
    "gal, bloke, folk, grown up, elder, preteen, tween, newborn, preschooler, pupil,"
    "classmate, roommate, playmate, girlfriend, boyfriend, spouse, newlywed, grandma, granny,"
    "grandparent, grandchild, grandchildren, grandson, granddaughter, aunt, uncle, cousin, nephew,"
    "niece, sibling, mama, mommy, mum, daddy, papa, policewoman, lifeguard, security guard,"
    "crossing guard, cop, sheriff, trooper, sailor, guardsman, serviceman, servicewoman,"
    "fire fighter, paramedic, doctor, nurse, surgeon, dentist, teacher, professor, instructor,"
    "trainer, lecturer, scientist, engineer, farmer, rancher, butcher, baker, chef, bartender,"
    "waiter, waitress, cashier, seller, salesman, saleswoman, merchant, barber, hairdresser,"
    "mechanic, technician, carpenter, plumber, workman, craftsman, handyman, repairman, laborer,"
    "employee, boss, politician, president, priest, pastor, nun, pope, bishop, preacher, reporter,"
    "journalist, cameraman, comedian, magician, juggler, impersonator, entertainer, actor, actress,"
    "ballerina, violinist, pianist, rapper, pilot, stewardess, attendant, commuter, traveler,"
    "traveller, backpacker, camper, hitchhiker, motorist, chauffeur, visitor, guest, patron,"
    "diners, resident, villager, citizen, civilian, neighbor, foreigner, hipster, hippie, cowgirl,"
    "horseman, horsewoman, equestrian, boatman, rower, canoer, canoeist, rafter, windsurfer,"
    "kitesurfer, kiteboarder, parasailer, paraglider, hang glider, wakeboarder, waterskier,"
    "bodyboarder, paddleboarder, skydiver, mountaineer, sledder, longboarder, skiier, bicycler,"
    "baseman, outfielder, infielder, fielder, shortstop, hitter, ballplayer, cricketer, batsman,"
    "bowler, footballer, sportsman, lineman, passerby, passersby, bather, sunbather, beachgoer,"
    "picnicker, protester, contestant, winner, user, trainee, mate, babysitter, nanny, maid,"
    "housekeeper, janitor, zookeeper, handler, herder, shepherdess, dog walker, gangster, thief,"
    "prisoner, police, boy scout, girl scout, marching band, rock band, groomsman, personnel,"
    "a cook, the cook, cooks, knight, ninja, blacksmith, jockies, seniors, observer, djs,"
    "housewife, stuntman, sightseer, cycler, dirtbiker, patroller, asians, african american,"
    "a being"
)
# Relatives and other words that apply to people or animals.
KIN = (
    "baby, infant, newborn, mother, father, mom, mama, dad, papa, parent, son, daughter, sibling,"
    "brother, sister, twin, adult, male, female, friend, buddy, individual"
)
# People, unless a noun follows: a passenger train, kids toys, a family room.
BEFORE_NOUNS = (
    "passenger, commuter, pedestrian, tourist, guest, student, police, fighter, runner, chef,"
    "cowboy, family, team, kids, visitor, butcher"
)
# Groups of people, or of what follows: a crowd of sheep, a couple zebras.
GROUPS = "couple, crowd, family, team, gang, audience"
# Words that hint at people.
HINTS = (
    "hand, finger, thumb, fist, wrist, forearm, elbow, lap, selfie, silhouette, mannequin, mascot,"
    "santa, zombie, superhero, figure, crew, staff, guard, band, clown, mustache, moustache, beard,"
    "haircut, fan, boarder, member, fashion model, boxer, fellow, walker, guide, captain, parade,"
    "concert, protest, ceremony, photo shoot, ghost, choir, orchestra, wedding party,"
    "baseball game, tennis match, tennis game, soccer game, soccer match, football game,"
    "rugby game, hockey game, basketball game, ball game, game of tennis, game of frisbee,"
    "game of soccer, gameof baseball, server, blonde, brunette"
)
# Further hints, without a plural.
HINTING = (
    "crowded, barefoot, shirtless, bald, bearded, elderly, teenage, surfing, skiing, snowboarding,"
    "skateboarding, parasailing, windsurfing, paragliding, me"
)
# Hints only if the caption names no animal that they could refer to.
WEAK_HINTS = "he, she, him, his, her, hers, himself, herself, group, bunch, body, feet, foot"
# Animals in addition to the lexicon's, including stuffed ones, which have mothers and babies too.
ANIMALS = (
    "penguin, peacock, ostrich, hen, duckling, chick, crow, sparrow, dove, egret, emu, parakeet,"
    "moose, elk, panda, hippo, hippopotamus, rhino, rhinoceros, donkey, mule, foal, colt, mare,"
    "stallion, llama, alpaca, pig, piglet, fox, wolf, kangaroo, koala, lizard, alligator,"
    "crocodile, frog, snake, bison, buffalo, cub, calves, insect, butterfly, bee, rat, hamster,"
    "kitty, gazelle, ape, gorilla, seal, otter, livestock, ewe, grizzly, stuffed animal,"
    "teddy bear, teddy"
)
# Phrases that contain one of the words above but mean something else.
PASSED_OVER = (
    "man made, man hole, man cave, army man, army men, snow man, stick man, green man, lady bug,"
    "lady liberty, lady finger, ladies room, men room, child seat, child size, grooms, mens,"
    "womens, childrens, someones, his and her, his and hers, no one, people mover, crash dummy,"
    "boy toy, girl toy, boys toy, girls toy, human waste, person sized, men at work, record player,"
    "cd player, dvd player, music player, media player, video player, mp3 player, tape player,"
    "cassette player, ray player, pedestrian crossing sign, pedestrian crossing light,"
    "pedestrian crossing signal, passenger loading, passenger carrying, screw driver, fighter jet,"
    "table runner, carpet runner, coast guard, guard rail, mouth guard, banana guard, guard dog,"
    "shin guard, splash guard, guard house, guard gate, homeless shelter, santa hat, clown fish,"
    "worker bee, ceiling fan, electric fan, window fan, floor fan, box fan, exhaust fan, desk fan,"
    "fan light, rubber band, head band, arm band, wrist band, band aid, hand towel, hand soap,"
    "hand rail, hand held, hand bag, hand made, hand crafted, hand painted, hand written,"
    "hand drawn, hand dryer, hand drier, hand sanitizer, hand cart, hand truck, hand brake,"
    "hand lotion, hand tool, hand carved, hand formed, hand washing, hand sink, hand glider,"
    "hand shower, hand mixer, hand blown, hand print, second hand, other hand, hand side,"
    "hand corner, hand lane, hand turn, hour hand, minute hand, clock hand, hands on the clock,"
    "hands of the clock, lap top, lap dog, lap up, family dining, foot stool, foot board,"
    "foot rest, foot long, foot of the, foot tall, feet tall, feet high, finger food,"
    "finger sandwich, body of, bodies of, body board, body wash, body lotion, group of, bunch of,"
    "crowded with, bald eagle, bald tire, bearded dragon, surfing board, skiing lodge, skiing pole,"
    "ghost town, captain chair, captain hat, concert hall, groups of"
)
# Words that turn what follows into a picture or figure: "a statue of a man".
LIKENESSES = (
    "statue, statues, sculpture, sculptures, figurine, figurines, bust, doll, dolls, carving,"
    "carvings, cutout, cutouts, painting, paintings, drawing, drawings, mural, murals, poster,"
    "posters, cartoon, caricature, graffiti, toy, toys, stuffed, lego, plastic, ceramic, bronze,"
    "gingerbread, inflatable, fake, monument, replica, silhouette, silhouettes, sticker, stickers,"
    "mannequin, mannequins, puppet, puppets, robot, portrait, portraits, symbol, symbols, wax,"
    "decoration, decorations, scarecrow, shape"
)
# Body parts, which imply their owner: "a man's hand".
PARTS = (
    "hand, hands, finger, fingers, thumb, arm, arms, head, heads, face, faces, hair, mouth, teeth,"
    "nose, eye, eyes, ear, ears, lip, lips, neck, chest, back, shoulder, shoulders, body, torso,"
    "waist, hip, hips, lap, leg, legs, knee, knees, foot, feet, toe, toes, reflection, wrist"
)
# Words that, unlike nouns, do not turn the word before them into a modifier.
FOLLOWERS = (
    "&, a, about, across, after, against, all, along, amidst, among, and, are, around, as, at,"
    "away, back, be, before, behind, being, beside, between, both, but, by, ca, can, do, does,"
    "down, each, enjoy, enjoys, for, from, gather, gathers, get, gets, going, had, has, have, he,"
    "her, his, in, inside, into, is, just, make, makes, n't, near, next, not, of, off, on, one, or,"
    "out, outside, over, prepare, prepares, put, puts, seen, share, she, some, take, takes, that,"
    "the, their, there, through, to, together, toward, towards, tries, try, under, underneath, up,"
    "use, uses, was, wear, wears, were, where, which, while, who, whose, with"
)
# Words that show that a "pitcher" throws rather than holds water.
BALL_GAMES = (
    "ball, balls, base, baseball, bat, bats, bunt, bunts, catcher, cricket, deck, field, game,"
    "glove, hit, hits, hitting, league, mitt, mound, pitch, pitched, pitches, pitching, plate,"
    "player, players, ready, softball, swing, swinging, swings, team, throw, throwing, throws,"
    "umpire, uniform, winding, winds"
)
