"""What the coded product types and categories of Complete Journey mean: our own reading of the codes.

Covers each type and category of the 1,500 products bought most; the rest goes by rule and abbreviation table.
"""

from __future__ import annotations

from recenv.data.catalogue import Lexicon, parse_table

_GROCERY = """
BAGGED CHEESE SNACKS=cheese snacks; DIPS (NON-REFRIGERATED)=snack dip; MISC BAG SNACKS=bagged snacks; MULT PK BAG
SNACKS=snack bags, multipack; SGL SV/VEND MACH SNACKS CHIP/P=chips, single-serve bag; TORTILLA/NACHO CHIPS=tortilla
chips; ENGLISH MUFFINS/WAFFLES=English muffins; MAIN MEAL BREAD=dinner bread; MAINSTREAM WHEAT/MULTIGRAIN BR=wheat
bread; MAINSTREAM WHITE BREAD=white bread; RYE BREADS=rye bread; MEXICAN SOFT TORTILLAS AND WRA=soft tortillas; SNACK
CAKE - MULTI PACK=snack cakes, multipack; BAKED SWEET GOODS|SW GDS:DONUTS=packaged donuts; BREAKFAST SWEETS|SW
GDS:DONUTS=bakery donuts; SW GDS: SW ROLLS/DAN=sweet rolls and Danish pastries; SWEET GOODS - FULL SIZE=bakery sweets,
full size; MUFFIN & CORN BREAD MIX=muffin and corn bread mix; BITS & MORSELS=baking chips; TOILET TISSUE=toilet paper;
PREPARED BEANS - BAKED W/PORK=baked beans with pork; VARIETY BEANS - KIDNEY PINTO=canned beans, kidney or pinto;
BEERALEMALT LIQUORS=beer; BEERS/ALES|BEERALEMALT LIQUORS=beer; LIQUID BLEACH=liquid bleach; APPLE JUICE & CIDER (OVER
50%=apple juice; APPLE JUICE & CIDER (50% AND U=apple juice drink; ASEPTIC PACK JUICE AND DRINKS=juice boxes; BLENDED
JUICE&COMBINATIONS (OV=blended fruit juice; FRUIT DRINKS: CANNED & GLASS (=fruit drink; IWS SINGLE CHEESE=cheese
slices, individually wrapped; NON-IWS SINGLE CHEESE=sandwich cheese slices; LOAF CHEESE=cheese loaf; NATURAL CHEESE
EXACT WT CHUNKS=cheese block; NATURAL CHEESE EXACT WT SLICES=natural cheese slices; MALTED MLK/SYRUP/PWDRS
(EGGNOG=chocolate syrup and milk mix; FLAVORED BEAN COFFEE=flavored coffee; ADULT CEREAL=wholegrain cereal; ALL FAMILY
CEREAL=family cereal; KIDS CEREAL=kids' cereal; BBQ SAUCE=barbecue sauce; CATSUP=ketchup; SALAD MUSTARD=mustard; STEAK
& WORCHESTER SAUCE=steak sauce; TRAY PACK/CHOC CHIP COOKIES=chocolate chip cookies; VANILLA WAFER/KIDS COOKIES=vanilla
wafers; BUTTER SPRAY CRACKER (RITZ/CLU=butter crackers; CHEESE CRACKERS (CHEEZ-ITS/GOL=cheese crackers; SOUP CRACKERS
(SALTINE/OYSTER)=saltine crackers; MACARONI & CHEESE DNRS=macaroni and cheese dinner; STUFFING MIXES=stuffing mix;
LIQUID DISH DETERGENT=dish soap; RICE SIDE DISH MIXES DRY=rice side dish mix; NOODLE SIDE DISH MIXES=noodle side dish
mix; SPAGHETTI DRY=spaghetti; PUDDING&GELATIN CUPS/CANS=pudding and gelatin cups; MACARONI DRY=macaroni; NOODLES
DRY=egg noodles; EGGS - JUMBO=jumbo eggs; EGGS - LARGE=large eggs; EGGS - MEDIUM=medium eggs; EGGS - X-LARGE=extra
large eggs; FACIAL TISSUE & PAPER HANDKE=facial tissues; FLOUR: WHITE & SELF RISING=white flour; FLUID MILK WHITE
ONLY=milk; MISCELLANEOUS MILK=specialty milk; REFRIGERATED COFFEE CREAMERS=coffee creamer; CANNED MILK=canned milk;
ASEPTIC MILK & MILK DRINKS=shelf-stable milk drinks; FRZN GARLIC BREAD/TOAST/STICKS=frozen garlic bread; FRZN WHIPPED
TOPPING=frozen whipped topping; BURRITOS=frozen burritos; PIZZA/ECONOMY=frozen pizza, value; PIZZA/PREMIUM=frozen
pizza, premium; PIZZA/TRADITIONAL=frozen pizza, traditional; SANDWICHES&HANDHELDS=frozen sandwiches;
SNACKS/APPETIZERS=frozen snacks and appetizers; FRUIT BOWL AND CUPS=fruit cups; FRUIT - SHELF STABLE|PINEAPPLE=canned
pineapple; FRUIT - SHELF STABLE|PEACHES=canned peaches; MANDARIN ORANGES/CITRUS SECT=mandarin oranges;
WAFFLES/PANCAKES/FRENCH TOAST=frozen waffles and pancakes; ICE - CRUSHED/CUBED=bagged ice; FRZN MULTI SERVE ENTREES
ALL=frozen family entree; SS ECONOMY ENTREES/DINNERS ALL=frozen dinner, single serve; STICKS/ENROBED=ice cream bars;
WATER ICE=ice pops; FRZN TATER TOTS/OTHER EXTRUDED=frozen tater tots; FRZN BAGGED VEGETABLES - PLAIN=frozen
vegetables, bag; FRZN BOXED VEGETABLES - PLAIN=frozen vegetables, box; FRZN BOXED VEGETABLES- VALUE A=frozen
vegetables in sauce; MEXICAN SEASONING MIXES=Mexican seasoning mix; MEXICAN SAUCESSALSAPICANTEE=salsa; SUPER PREMIUM
PINTS=super premium ice cream, pint; PREMIUM PINTS=premium ice cream, pint; ICE CREAM/MILK/SHERBTS|TRADITIONAL=ice
cream; ICE CREAM/MILK/SHERBTS|PREMIUM=premium ice cream; ISOTONIC DRINKS SINGLE SERVE=sports drink, single serve;
MARGARINE STICK=margarine sticks; MARGARINE: TUBS AND BOWLS=margarine tub; CHILI: CANNED=canned chili; HOT DOG CHILI
SAUCE=hot dog chili sauce; PASTA: CANNED=canned pasta; SOUR CREAMS=sour cream; MEAT - SHELF STABLE|SANDWICH
SAUCE=sloppy joe sauce; VIENNA SAUSAGE=Vienna sausages; REFRIG DIPS=chilled dip; REFRIGERATED MEXICAN PRODUCTS=chilled
tortillas; MISC DAIRY REFIGERATED=dairy product; AEROSOL TOPPINGS=whipped cream, can; BASIC PAPER PLATES=paper plates;
DESIGNER PAPER: MEDIUM WEIGHT=printed paper plates; PAPER TOWELS & HOLDERS=paper towels; PASTA SAUCE|MAINSTREAM=pasta
sauce; SOFT DRINK POWDER POUCHES=drink mix, powder pouch; REFRIGERATED BISCUITS REGULAR=chilled biscuit dough;
REFRIGERATED COOKIES-CHUB=chilled cookie dough; REFRIGERATED SPECILATY ROLLS=chilled roll dough; MISC REFRIG DOUGH
PRODUCTS=chilled dough; REFRIGERATED BAGELS=chilled bagels; DAIRY CASE 100% PURE JUICE - O=chilled orange juice; DAIRY
CASE 100% PURE JUICE OTH=chilled fruit juice; DAIRY CASE CITRUS PNCH/OJ SUBS=chilled citrus punch; DAIRY CASE FRUIT
DRINKS (NO JU=chilled fruit drink; DAIRY CASE JUICE DRNK UNDER 10=chilled juice drink; DAIRY CASE TEA WITH SUGAR OR
S=chilled sweet tea; POURABLE SALAD DRESSINGS=salad dressing; SEMI-SOLID SALAD DRESSING MAY=mayonnaise; SANDWICH SAUCE
HORSERADISH SA=sandwich and horseradish sauce; SEAFOOD - SHELF STABLE|SALMON=canned salmon; SEAFOOD - SHELF
STABLE|TUNA=canned tuna; CANOLA OILS=canola oil; VEGETABLE/SALAD OIL=vegetable oil; SFT DRNK 2 LITER BTL CARB
INCL=soft drink, 2 liter bottle; SFT DRNK MLT-PK BTL CARB (EXCP=soft drink, bottle multipack; SFT DRNK SNGL SRV BTL
CARB (EX=soft drink, single bottle; SOFT DRINKS 12/18&15PK CAN CAR=soft drink, 12 to 18 pack of cans; SOFT DRINKS
20PK&24PK CAN CARB=soft drink, 20 or 24 pack of cans; SOFT DRINKS 6PK/4PK CAN CARB (=soft drink, 4 or 6 pack of cans;
SOFT DRINK BOTTLE NON-CARB (EX=still drink, bottle; MIXERS(CLUB SODA/SELTZERS)FLAV=club soda and mixers; DRY SOUP=dry
soup mix; RAMEN NOODLES/RAMEN CUPS=ramen noodles; RTS SOUP: CHUNKY/HOMESTYLE ET=ready-to-serve soup; SPICES &
SEASONINGS=spices and seasonings; TABLE SALT POPCORN SALTICE C=table salt; BEANS GREEN: FS/WHL/CUT=canned green beans;
VEGETABLES - SHELF STABLE|CARROTS=canned carrots; VEGETABLES - SHELF STABLE|CORN=canned corn; PEAS GREEN=canned green
peas; TOMATOES: STEWED/DICED/CRMD=canned diced tomatoes; MUSHROOMS CND & GLASS=canned mushrooms; VEGETABLES - SHELF
STABLE|MISCELLANEOUS VEGETABLES=canned vegetables; CANISTER POTATO/TORT CHIPS=potato crisps, canister; NON-CRBNTD
DRNKING/MNERAL WATE=drinking water; YOGURT NOT MULTI-PACKS=yogurt; YOGURT MULTI-PACKS=yogurt, multipack; CANNED CAT
FOOD (9 LIVES/FRISK=canned cat food; CONVENIENT BRKFST/WHLSM SNACKS|TREATS=crispy cereal treats; SAUCE MIXES GRAVY
MIXES DRY=sauce and gravy mix; INFANT FORMULA SPECIALTY=infant formula; PEANUTS ALL=peanuts; DRIED FRUIT - OTHER=dried
fruit; LIQUID LAUNDRY DETERGENTS=liquid laundry detergent; SKILLET DINNERS=skillet dinner mix
"""
_FRESH = """
INSTORE CUT VEGETABLES=cut vegetables; INSTORE CUT FRUIT=cut fruit; CHEESE: NATURAL BULK=deli natural cheese; CHEESE:
PROCESSED BULK=deli American cheese; CHIX: ROTISSERIE (HOT)=rotisserie chicken, hot; CHIX: VALUE ADDED (HOT)=prepared
chicken, hot; CHIX:FRD 8PC/CUT UP (HOT)=fried chicken, 8 pieces, hot; CHIX: BAKED 8PC CUT UP (HOT)=baked chicken, 8
pieces, hot; MEAT: BEEF BULK=deli roast beef; MEAT: LUNCHMEAT BULK=deli lunch meat; MEAT: SAUS DRY BULK=deli salami;
MEAT: TURKEY BULK=deli turkey; MEAT:HAM BULK=deli ham; PREP FD: SIDE DISHES (HOT)=side dish, hot; ANGUS=Angus beef;
LEAN=lean ground beef; PATTIES=beef patties; PRIMAL=ground beef; SOUP/STEW=stew beef; STUFFED/MIXED BEEF=stuffed beef;
CUBED MEATS=cubed beef; NATURAL BEEF=natural beef; BEEF|RIBS=beef ribs; STIR FRY/STRIPS/FAJITAS=beef strips; CHICKEN
BREAST BONE IN=chicken breast, bone in; CHICKEN BREAST BONELESS=chicken breast, boneless; CHICKEN DRUMS=chicken
drumsticks; WHOLE CHICKEN (ROASTERS/FRYER)=whole chicken; BUTTS=pork butt; DRY=dry-cured pork; ENHANCED=seasoned pork;
PORK|RIBS=pork ribs; HAM STEAKS/CUBES/SLICES=ham steaks; SMOKED OFFAL=smoked ham hocks; BACON|BETTER FOR
YOU=reduced-fat bacon; BACON|ECONOMY=bacon, value; BACON|FLAVORED/OTHER=flavored bacon; BACON|PRE-COOKED=pre-cooked
bacon; BACON|PREMIUM=premium bacon; LINKS - RAW=breakfast sausage links; PATTIES - RAW=breakfast sausage patties;
BREAKFAST SAUSAGE/SANDWICHES|OTHER=breakfast sausage; BREAKFAST SAUSAGE/SANDWICHES|FRESH=fresh breakfast sausage;
ROLLS - PORK=pork sausage roll; SANDWICHES/BISCUITS/GRAVY=breakfast sandwiches; DINNER SAUSAGE|RED=red sausage;
SMOKED/COOKED=smoked sausage; SMOKED/COOKED - BEEF=smoked beef sausage; FRZN BREADED PREPARED CHICK=frozen breaded
chicken; HEAT/SERVE|ENTREES=heat-and-serve entree; ECONOMY - MEAT=hot dogs, value; PREMIUM - BEEF=premium beef hot
dogs; PREMIUM - MEAT=premium hot dogs; HOT DOGS|BETTER FOR YOU=reduced-fat hot dogs; LUNCHMEAT|MISCELLANEOUS=sliced
lunch meat; PEPPERONI/SALAMI=pepperoni and salami; LUNCHMEAT|POULTRY=poultry lunch meat; LUNCHMEAT|HAM=ham lunch meat;
LOAVE=lunch meat loaf; LUNCH COMBO=lunch combination pack; BREAST - BONELESS(IQF)=frozen chicken breasts, boneless;
GRND/PATTY - FROZEN=frozen burger patties; WINGS (IQF)=frozen chicken wings; BREAD:ITALIAN/FRENCH=Italian or French
bread; BREAD:SAVORY/SPECIALTY=specialty bread; COOKIES: REGULAR=bakery cookies; ROLLS: BAGELS=bakery bagels; ROLLS:
DINNER=dinner rolls; ROLLS: SANDWICH=sandwich rolls; CAKES: ANGEL FDS/CKE ROLLS=angel food cake; CAKES:
NOVELTIES=novelty cake; CAKES - OTHER=cake; PIES: PUMPKIN/CUSTARD=pumpkin or custard pie; APPLES FUJI (BULK&BAG)=Fuji
apples; APPLES GALA (BULK&BAG)=Gala apples; APPLES GOLD DELICIOUS (BULK&BA=Golden Delicious apples; APPLES OTHER
(BULK&BAG)=apples; APPLES GRANNY SMITH (BULK&BAG)=Granny Smith apples; APPLES RED DELICIOUS (BULK&BAG=Red Delicious
apples; APPLES BRAEBURN (BULK&BAG)=Braeburn apples; BROCCOLI WHOLE&CROWNS=broccoli crowns; CAULIFLOWER
WHOLE=cauliflower; CARROTS - BULK=carrots; CARROTS BAGGED=carrots, bag; CARROTS MINI PEELED=baby carrots; ORANGES
NAVELS ALL=navel oranges; CORN WHITE=white sweet corn; CORN YELLOW=yellow sweet corn; GRAPES BLACK/BLUE=black grapes;
GRAPES RED=red grapes; GRAPES WHITE=white grapes; GARLIC WHOLE CLOVES=garlic; HERBS CILANTO=cilantro; HERBS
PARSLEY=parsley; CANTALOUPE WHOLE=cantaloupe; HONEYDEW WHOLE=honeydew melon; WATERMELON SEEDLESS WHOLE=seedless
watermelon; MUSHROOMS PORTABELLA=portabella mushrooms; MUSHROOMS W/WHOLE PKG=white mushrooms, whole; MUSHROOMS WHITE
SLICED PKG=white mushrooms, sliced; ONIONS OTHER=green onions; ONIONS RED (BULK&BAG)=red onions; ONIONS SWEET
(BULK&BAG)=sweet onions; ONIONS WHITE (BULK&BAG)=white onions; ONIONS YELLOW (BULK&BAG)=yellow onions; ORGANIC
TROPICAL FRUIT=organic tropical fruit; PEARS ANJOU=Anjou pears; PEARS BARTLETT=Bartlett pears; PEPPERS ALL
OTHER=peppers; PEPPERS GREEN BELL=green bell peppers; PEPPERS JALAPENO=jalapeno peppers; PEPPERS OTHER BELL=bell
peppers; PEPPERS RED BELL=red bell peppers; PEPPERS SERRANO=serrano peppers; POTATOES OTHER=potatoes; POTATOES RED
(BULK&BAG)=red potatoes; POTATOES RUSSET (BULK&BAG)=russet potatoes; POTATOES SWEET&YAMS=sweet potatoes; SALAD
MIX|BLENDS=salad blend; COLESLAW=coleslaw mix; GARDEN PLUS=garden salad mix with extras; REGULAR GARDEN=garden salad
mix; SALAD SPINACH=spinach salad; SALAD MIX|KITS=salad kit; SQUASH ZUCCHINI=zucchini; YELLOW SUMMER SQUASH=yellow
squash; CHERRIES RED=red cherries; NECTARINES YELLOW FLESH=nectarines; PEACHES YELLOW FLESH=peaches; ROMA TOMATOES
(BULK/PKG)=Roma tomatoes; TOMATOES CHERRY=cherry tomatoes; TOMATOES COCKTAIL=cocktail tomatoes; TOMATOES GRAPE=grape
tomatoes; TOMATOES HOT HOUSE BULK=hothouse tomatoes; TOMATOES HOTHOUSE ON THE VINE=tomatoes on the vine; TOMATOES VINE
RIPE BULK=vine-ripe tomatoes; TOMATOES VINE RIPE PKG=vine-ripe tomatoes, pack; AVOCADO=avocados; KIWI FRUIT=kiwi
fruit; MANGO=mangoes; PINEAPPLE WHOLE&PEEL/CORED=pineapple; MELON HALVES/QUARTERS=cut melon; VEGETABLES - ALL
OTHERS|BEANS=green beans; GREENS=leafy greens; RADISH=radishes; VEGETABLES ALL OTHER=fresh vegetables; HEAD
LETTUCE=iceberg lettuce; SPINACH BULK=spinach; VARIETY LETTUCE=leaf lettuce; CUT VEGETABLES ALL OTHER=cut vegetables;
SALAD BAR FRESH FRUIT=salad bar fruit; SALAD BAR|SOUPS=salad bar soup; SEAFOOD-FRE-RAW FINFISH-OTHER=fresh fish;
SEAFOOD-FRE-SALMON=fresh salmon; SEAFOOD-FRZ-RAW FILLETS=frozen fish fillets; PROCESSED|DIPS=chilled dip; PROCESSED
OTHER=prepared produce; PASTA/GRAIN SALADS - PREPACK=pasta salad; SAL:OLIVES/PICKLES-BULK=olives and pickles;
VEGETABLE SALADS - PREPACK=vegetable salad; PREMIUM PERENNIALS (OUTDOOR)=outdoor perennials; SINGLE STEMS=cut flower
stems
"""
_OTHER = """
CANDY BARS (SINGLES)(INCLUDING=candy bar; MINTS CANDY & BREATH (NOT LIF=breath mints; CANDY BARS (MULTI PACK)=candy
bars, multipack; MISCELLANEOUS CANDY (INCLUDING=candy; CARDS EVERYDAY=greeting card; TV/MOVIE-MAGAZINE=TV and movie
magazine; WOMEN S GENERAL-MAGAZINE=women's magazine; TABLOIDS-MAGAZINE=tabloid magazine; PREPAID WIRELESS
CARDS=prepaid phone card; DIECAST MINI=die-cast toy car; GASOLINE-REG UNLEADED=regular unleaded gasoline; MISC SALES
TRANS=sundry sale; MEAT SUPPLIES=meat counter sundries; MISCELLANEOUS H & B AIDS=health and beauty sundries; PRODUCE
DEPT KEY RING=produce counter sundries; ELECTRONIC GIFT CARDS ACTIVATI=gift card; SEASONAL MISCELLANEOUS=seasonal item
"""
_CATEGORIES = """
BAG SNACKS=bagged snacks; BAKED BREAD/BUNS/ROLLS=bread, buns and rolls; BATH TISSUES=toilet paper; BEERS/ALES=beer;
BEANS - CANNED GLASS & MW=canned beans; CANDY - CHECKLANE=checkout candy; CANDY - PACKAGED=packaged candy; BREAKFAST
SAUSAGE/SANDWICHES=breakfast sausage; CANNED JUICES=juice; CHEESES=deli cheese; CHICKEN/POULTRY=prepared chicken;
CONVENIENT BRKFST/WHLSM SNACKS=breakfast bars and snacks; COUPON/MISC ITEMS=sundries; CRACKERS/MISC BKD FD=crackers;
DINNER MXS:DRY=dry dinner mixes; DISHWASH DETERGENTS=dish detergents; DRY BN/VEG/POTATO/RICE=dry beans, rice and
potatoes; DRY MIX DESSERTS=desserts; DRY NOODLES/PASTA=pasta; FACIAL TISS/DNR NAPKIN=tissues and napkins; FD
WRAPS/BAGS/TRSH BG=wraps and bags; FLUID MILK PRODUCTS=milk; FRUIT - SHELF STABLE=canned fruit; FRZN ICE=ice; FRZN
MEAT/MEAT DINNERS=frozen dinners; FRZN NOVELTIES/WTR ICE=frozen novelties; FRZN VEGETABLE/VEG DSH=frozen vegetables;
GREETING CARDS/WRAP/PARTY SPLY=cards and party supplies; HEAT/SERVE=heat-and-serve meals; HISPANIC=Hispanic foods; ICE
CREAM/MILK/SHERBTS=ice cream; ISOTONIC DRINKS=sports drinks; LUNCHMEAT=lunch meat; MEAT - MISC=frozen poultry and
patties; MEAT - SHELF STABLE=canned meat and meals; MILK BY-PRODUCTS=dairy products; MISC. DAIRY=other dairy; ORGANICS
FRUIT & VEGETABLES=organic produce; PAPER HOUSEWARES=paper plates and cups; PEPPERS-ALL=peppers; PNT
BTR/JELLY/JAMS=peanut butter and jam; PREPAID WIRELESS&ACCESSORIES=prepaid wireless; PWDR/CRYSTL DRNK MX=powdered
drinks; REFRGRATD DOUGH PRODUCTS=chilled dough; REFRGRATD JUICES/DRNKS=chilled juice; SALD DRSNG/SNDWCH SPRD=salad
dressing and spreads; MISCELLANEOUS=other groceries; SEAFOOD - FROZEN=frozen seafood; SEAFOOD - SHELF STABLE=canned
seafood; SEAFOOD-FRESH=fresh seafood; SHORTENING/OIL=cooking oil; SUGARS/SWEETNERS=sugar and sweeteners; VALUE ADDED
FRUIT=cut fruit; VALUE ADDED VEGETABLES=cut vegetables; VEGETABLES - ALL OTHERS=other vegetables; VEGETABLES - SHELF
STABLE=canned vegetables; VEGETABLES SALAD=salad vegetables; WAREHOUSE SNACKS=canister snacks; WATER -
CARBONATED/FLVRD DRINK=water; PASTRY=bakery; DRUG GM=drugstore and general; MEAT-PCKGD=packaged meat;
SEAFOOD-PCKGD=packaged seafood; CHEF SHOPPE=chef's shop; CNTRL/STORE SUP=store supplies; ELECT &PLUMBING=hardware;
CHARITABLE CONT=charity; PROD-WHS SALES=produce warehouse; GM MERCH EXP=general merchandise; COUP/STR & MFG=coupons
"""
_WORDS = """
ACCES=accessories; APPL=appliances; ASST=assorted; BBQ=barbecue; BEV=beverage; BKD=baked; BKFST=breakfast; BN=beans;
BRD=bread; BRKFST=breakfast; BTL=bottle; BTR=butter; BTTR=butter; CAN=can; CANDY=candy; CARB=carbonated; CHIX=chicken;
CHOC=chocolate; CKE=cake; CKN=chicken; CND=canned; COND=condiments; COOKIES=cookies; CRBNTD=carbonated; CRMD=creamed;
CRYSTL=crystal; CT=count; DEPT=department; DET=detergent; DINNERS=dinners; DNR=dinner; DNRS=dinners; DRNK=drink;
DRNKING=drinking; DRNKS=drinks; DRSNG=dressing; DSH=dishes; EXCP=; FD=food; FDS=foods; FLAV=flavored; FLVRD=flavored;
FLVR=flavor; FRD=fried; FRE=fresh; FRSH=fresh; FRT=fruit; FRZ=frozen; FRZN=frozen; FS=; GDS=goods; GRND=ground;
HSHLD=household; INCL=; INSTORE=in-store; IQF=frozen; IWS=individually wrapped; LIQ=liquid; LRG=large; LTR=liter;
MISC=assorted; MISC.=assorted; MISCELLANEOUS=assorted; MIXES=mixes; MLK=milk; MLT=multi; MNERAL=mineral; MULT=multi;
MX=mix; MXS=mixes; NON=non; PC=piece; PCKGD=packaged; PKG=packaged; PK=pack; PKT=packet; PNCH=punch; PNT=peanut;
POT=potato; PREP=prepared; PROD=products; PRODUCTS=products; PWDR=powder; PWDRS=powders; REFRG=chilled;
REFRGRATD=chilled; REFRIG=chilled; REFRIGERATED=chilled; REG=regular; RTS=ready-to-serve; SAL=salad; SALD=salad;
SAUS=sausage; SFT=soft; SGL=single; SHERBTS=sherbet; SNDWCH=sandwich; SNGL=single; SPLY=supplies; SPRD=spread;
SRV=serve; SS=single serve; STR=store; SUP=supplies; SUPPL=supplements; SV=serve; SW=sweet; TISS=tissue;
TORT=tortilla; TRSH=trash; VAR=variety; VEG=vegetables; VEND=vending; W=with; WATE=water; WHL=whole; WHLSM=wholesome;
WHS=warehouse; WT=weight; WTR=water; SPECILATY=specialty; SWEETNERS=sweeteners; X=extra; FRENCH=French;
ITALIAN=Italian; MEXICAN=Mexican; SNACKS=snacks; SAUCE=sauce; CHEESE=cheese; FOOD=food; CARDS=cards; BREAD=bread;
DRY=dry
"""

TYPES = Lexicon(parse_table(_GROCERY + ";" + _FRESH + ";" + _OTHER), parse_table(_WORDS), width=30)
CATEGORIES = Lexicon(parse_table(_CATEGORIES), TYPES.words, width=30)
BRANDS = {"National": "national brand", "Private": "store brand"}
